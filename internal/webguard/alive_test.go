package webguard

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// Alive needs neither token nor a free place, and says when nobody answers.
func TestAlive(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0"} {
		held, enter := make(chan struct{}), make(chan struct{})
		g, err := New(Config{
			Key: "k", Listen: listen, Settings: Settings{Token: "0123abcd"}, InFlight: 1, CheckHost: OwnHosts,
			Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { enter <- struct{}{}; <-held }),
		})
		if err != nil {
			t.Fatal(err)
		}
		soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := g.Alive(soon); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: nobody accepts: %v", listen, err)
		}
		cancel()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		go func() {
			req, _ := http.NewRequest(http.MethodGet, "http://localhost:"+port(g.Addr()), http.NoBody)
			req.Header.Set("Authorization", "Bearer 0123abcd")
			if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
				_ = res.Body.Close()
			}
		}()
		<-enter // the only place is taken
		if err := g.Alive(t.Context()); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
		close(held)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := g.Alive(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: after the end: %v", listen, err)
		}
	}
}

func port(a net.Addr) string {
	_, p, _ := net.SplitHostPort(a.String())
	return p
}

// Once LetGo is called each answer ends its connection, new connections are taken, and Run waits for what is kept.
func TestLetGo(t *testing.T) {
	g, err := New(Config{Key: "k", Listen: "127.0.0.1:0", Linger: time.Hour, Handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	client := &http.Transport{}
	defer client.CloseIdleConnections()
	ask := func() (closes bool) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, "http://"+g.Addr().String(), http.NoBody)
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // else the client drops the connection
		_ = res.Body.Close()
		return res.Close
	}
	if ask() {
		t.Error("a connection is not kept")
	}
	stop()
	select {
	case err := <-done:
		t.Fatalf("ended with a kept connection: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if !ask() {
		t.Error("the kept connection is kept on")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

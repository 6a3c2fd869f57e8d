package webguard

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// fromHost is a connection that says it comes from another address.
type fromHost struct {
	net.Conn
	at      netip.AddrPort
	aborted chan struct{}
}

func (f *fromHost) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.at) }

func (f *fromHost) Abort() {
	close(f.aborted)
	_ = f.Conn.Close()
}

// offered opens a connection from an address through an Inlet.
func offered(t *testing.T, in *Inlet, from string) (client net.Conn, server *fromHost) {
	t.Helper()
	client, far := net.Pipe()
	t.Cleanup(func() { _ = client.Close() })
	server = &fromHost{far, netip.MustParseAddrPort(from), make(chan struct{})}
	if !in.Offer(t.Context(), server) {
		t.Fatal("it is not accepted")
	}
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	return client, server
}

// request makes one, and returns the status of its answer.
func request(c net.Conn, header string) (int, error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n"+header+"\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Body.Close()
}

// TestFairPlaces has a crowd displace its own, and neither a stranger of another source nor whoever has a token.
func TestFairPlaces(t *testing.T) {
	in := NewInlet()
	g := start(t, Config{Listener: in, MaxConns: 8, Settings: Settings{Token: "t"}, Handler: echo})
	known, _ := offered(t, in, "192.0.2.1:1")
	if status, err := request(known, "Authorization: Bearer t\r\n"); status != 200 {
		t.Fatal(status, err)
	}
	lone, _ := offered(t, in, "[2001:db8:1::1]:1")
	for i := range 50 {
		_, crowd := offered(t, in, netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(1000+i)).String())
		if i < 6 {
			continue
		}
		select {
		case <-crowd.aborted:
			t.Fatal("the newest is displaced")
		default:
		}
	}
	if status, err := request(lone, ""); status != 401 {
		t.Errorf("a stranger of another source: %d %v", status, err)
	}
	if status, err := request(known, "Authorization: Bearer t\r\n"); status != 200 {
		t.Errorf("whoever has the token: %d %v", status, err)
	}
	if open, lost := g.Open(), g.Lost()["displaced"]; open != 8 || lost != 44 {
		t.Errorf("%d open, %d displaced", open, lost)
	}
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	if len(g.conns.sources) != 2 {
		t.Errorf("%d sources are kept", len(g.conns.sources))
	}
}

// TestHijackedIsGone has a connection that a handler took over hold no place.
func TestHijackedIsGone(t *testing.T) {
	in := NewInlet()
	taken := make(chan net.Conn, 8)
	g := start(t, Config{Listener: in, MaxConns: 2, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		taken <- c
	})})
	for range 8 {
		c, _ := offered(t, in, "192.0.2.1:1")
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		defer (<-taken).Close()
	}
	if open, lost := g.Open(), g.Lost()["displaced"]; open != 0 || lost != 0 {
		t.Errorf("%d open, %d displaced", open, lost)
	}
}

// TestInletEnds has nobody wait for a Guard that is gone.
func TestInletEnds(t *testing.T) {
	in := NewInlet()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, _ := net.Pipe()
	if in.Offer(ctx, c) {
		t.Error("accepted by nobody")
	}
	_ = in.Close()
	_ = in.Close()
	if in.Offer(t.Context(), c) {
		t.Error("accepted by what is closed")
	}
	if _, err := in.Accept(); err == nil {
		t.Error("accepts after its end")
	}
}

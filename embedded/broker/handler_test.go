package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A Broker without a listener serves on another's, TLS here; Run's end reaches those Nodes too.
func TestHandlerBehindTLS(t *testing.T) {
	r := start(t, func(c *Config) { c.Listen = "" })
	if r.b.Addr() != nil {
		t.Error("an address without a listener")
	}
	server := httptest.NewTLSServer(r.b.Handler())
	defer server.Close()
	nc, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	w := &wire{t: t, nc: nc, in: bufio.NewReader(nc)}
	fmt.Fprintf(nc, "GET /socket.io/?%s HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", nodeQuery("Alice"))
	w.deadline()
	if w.head, err = http.ReadResponse(w.in, nil); err != nil || w.head.StatusCode != 101 {
		t.Fatal(w.head, err)
	}
	w.read()
	w.joined()
	if n, over := unread(r.b.nodes["Alice"].nc); n != 0 || over {
		t.Errorf("unread of a quiet connection: %d, %v", n, over)
	}
	go r.stop()
	w.want("41", "close 1005")
	w.over()
	r.stop()
}

// A client that does not wait for the 101 loses nothing.
func TestFramesBeforeTheAnswer(t *testing.T) {
	r := start(t, nil)
	nc, err := net.Dial("tcp", r.b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	frame, _ := ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("40"))))
	fmt.Fprintf(nc, "GET /socket.io/?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", nodeQuery("Alice"), frame)
	w := &wire{t: t, nc: nc, in: bufio.NewReader(nc)}
	w.deadline()
	if w.head, err = http.ReadResponse(w.in, nil); err != nil || w.head.StatusCode != 101 {
		t.Fatal(w.head, err)
	}
	w.read()
	if m := w.read(); len(m) < 4 || m[:3] != "40{" {
		t.Errorf("%q", m)
	}
}

func TestConfigErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, cfg := range map[string]Config{
		"no Decider": {},
		"taken":      {Decider: &decider{}, Listen: taken.Addr().String()},
		"a name":     {Decider: &decider{}, Listen: "localhost:8080"},
		"locks":      {Decider: &decider{}, StatusInterval: 60e9, LockTTL: 30e9},
		"settings":   {Decider: &decider{}, Settings: Settings{SameID: "x"}},
	} {
		if b, err := New(cfg); err == nil {
			t.Errorf("%s passed", name)
			b.Close()
		} else {
			t.Log(err)
		}
	}
}

// The check behind the watchdog is one: it fails where nobody answers, and a Broker that has no place for this machine is
// alive all the same.
func TestAlive(t *testing.T) {
	soon := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	idle, err := New(Config{Listen: "127.0.0.1:0", Decider: &decider{}})
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if err := idle.Alive(soon(200 * time.Millisecond)); err == nil {
		t.Error("a Broker that is not run is alive")
	}
	r := start(t, func(c *Config) { c.Settings.Limits.ConnectionsPerIP = 1 })
	if err := r.b.Alive(soon(20 * time.Second)); err != nil {
		t.Error(err)
	}
	eventually(t, "it has given its place back", func() bool { return r.b.Stats().Connections == 0 })
	r.join("Alice")
	if err := r.b.Alive(soon(20 * time.Second)); err != nil {
		t.Errorf("without a place: %v", err)
	}
}

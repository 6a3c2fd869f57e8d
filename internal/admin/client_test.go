package admin

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

func TestClient(t *testing.T) {
	s := serve(t, "0123abcd", nil)
	c, err := NewClient(s.url+"/", s.token)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	odd := "a/../b?&=ü%"
	s.relays.list = []nodes.Allocation{allocation("x/1", odd), allocation("2", odd)}
	s.registry.Note(odd, nodes.KindRefused, "x")

	if st, err := c.Status(ctx); err != nil || st.Version != "1.2.3" {
		t.Errorf("status %+v %v", st, err)
	}
	if l, err := c.Nodes(ctx, "b?&", 1); err != nil || l.Total != 1 || l.Nodes[0].Allocations != 2 {
		t.Errorf("nodes %+v %v", l, err)
	}
	if err := c.CloseAllocation(ctx, "x/1"); err != nil {
		t.Error(err)
	}
	if err := c.CloseAllocation(ctx, "x/1"); !errors.Is(err, ErrNotFound) || err.Error() != "not found: no live allocation has this id" {
		t.Error(err)
	}
	if l, err := c.Allocations(ctx, odd, "traffic", 5); err != nil || l.Total != 1 || l.Allocations[0] != allocation("2", odd) {
		t.Errorf("allocations %+v %v", l, err)
	}
	if a, err := c.Ban(ctx, BanRequest{Node: odd, Reason: "r", For: "1h"}); err != nil || a.Closed != 1 {
		t.Errorf("ban %+v %v", a, err)
	}
	if _, err := c.Ban(ctx, BanRequest{}); err == nil || err.Error() != "node id is empty" {
		t.Error(err)
	}
	if l, err := c.Bans(ctx, 0); err != nil || l.Total != 1 || l.Bans[0].Node != odd {
		t.Errorf("bans %+v %v", l, err)
	}
	if n, err := c.Node(ctx, odd); err != nil || !n.Banned || len(n.Events) != 2 {
		t.Errorf("node %+v %v", n, err)
	}
	if err := c.Unban(ctx, odd); err != nil {
		t.Error(err)
	}
	if err := c.Unban(ctx, odd); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := c.Ready(ctx); err != nil {
		t.Error(err)
	}
	s.setNotReady("draining")
	if err := c.Ready(ctx); !errors.Is(err, ErrNotReady) || err.Error() != "not ready: draining" {
		t.Error(err)
	}
}

func TestClientErrors(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:8084", "ftp://x", "http://", "http://user:secret@x", "http://x?token=secret", "http://\x7f"} {
		if _, err := NewClient(bad, ""); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s := serve(t, "0123abcd", nil)
	c, err := NewClient(s.url, "wrong")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Bans(t.Context(), 0); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
	s.stop()
	if _, err := c.Bans(t.Context(), 0); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "wrong") {
		t.Error(err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/bans":
			_, _ = w.Write([]byte("<html>"))
		case "/api/status":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/api/node":
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte(`{"error":"\u001b[2J\u202e"}`))
		default:
			t.Errorf("%s was asked for", r.URL.Path)
		}
	}))
	defer other.Close()
	if c, err = NewClient(other.URL, "t"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Bans(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "admin.listen") {
		t.Error(err)
	}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "302") {
		t.Error(err)
	}
	if _, err := c.Node(t.Context(), "x"); err == nil || err.Error() != `\x1b[2J\u202e` {
		t.Error(err)
	}
}

func TestBaseURL(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8084": "http://127.0.0.1:8084", ":8084": "http://127.0.0.1:8084", "0.0.0.0:1": "http://127.0.0.1:1",
		"[::]:8084": "http://[::1]:8084", "[2001:db8::1]:8084": "http://[2001:db8::1]:8084", "box.local:80": "http://box.local:80",
	} {
		if got, err := BaseURL(listen); err != nil || got != want {
			t.Errorf("BaseURL(%q) = %q, %v", listen, got, err)
		}
	}
	if _, err := BaseURL("nonsense"); err == nil {
		t.Error("nonsense was accepted")
	}
}

func TestHealthWithoutToken(t *testing.T) {
	s := serve(t, "0123abcd", nil)
	c, err := NewClient(s.url, "")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := c.Ready(t.Context()); err != nil || time.Since(start) > 5*time.Second {
		t.Error(err)
	}
}

// Whatever answers there, a call ends, costs little memory and says what is wrong in one short line.
func TestClientOfAHostileServer(t *testing.T) {
	endless := func(w http.ResponseWriter) {
		for block := bytes.Repeat([]byte("[ "), 1<<15); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		serve func(w http.ResponseWriter)
		call  func(c *Client) error
		want  string
	}{
		"endless":      {endless, func(c *Client) error { return c.Ready(t.Context()) }, "larger than 1 MiB"},
		"endless list": {endless, func(c *Client) error { _, err := c.Nodes(t.Context(), "", 200); return err }, "larger than 32 MiB"},
		"empty status": {func(w http.ResponseWriter) { _, _ = w.Write([]byte("{}")) }, func(c *Client) error { _, err := c.Status(t.Context()); return err }, ErrStranger.Error()},
		"null":         {func(w http.ResponseWriter) { _, _ = w.Write([]byte("null")) }, func(c *Client) error { return c.Ready(t.Context()) }, ErrStranger.Error()},
		"the webhooks": {func(w http.ResponseWriter) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte(`{"error":"no such path"}`))
		}, func(c *Client) error { _, err := c.Bans(t.Context(), 1); return err }, ": " + ErrStranger.Error()},
		"large header": {func(w http.ResponseWriter) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, func(c *Client) error { return c.Ready(t.Context()) }, "headers exceeded"},
		"long complaint": {func(w http.ResponseWriter) {
			w.WriteHeader(500)
			_, _ = w.Write([]byte(`{"error":"` + strings.Repeat(`\n`, 1e5) + `"}`))
		}, func(c *Client) error { return c.Unban(t.Context(), "x") }, `\n\n…`},
		"no HTTP": {func(w http.ResponseWriter) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\x1b[31m" + strings.Repeat("x", 1e5) + "\r\n\r\n"))
				_ = conn.Close()
			}
		}, func(c *Client) error { return c.Ready(t.Context()) }, "xxx…"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.serve(w) }))
			defer server.Close()
			client, err := NewClient(server.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			err = c.call(client)
			if err == nil {
				t.Fatal("no error")
			}
			if text := err.Error(); !strings.Contains(text, c.want) || len(text) > 1500 || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("%.2000q, want %q", text, c.want)
			}
		})
	}
}

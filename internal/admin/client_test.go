package admin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

func TestClient(t *testing.T) {
	s := serve(t, "0123abcd", nil)
	c, err := adminapi.NewClient(s.url+"/", s.token)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	odd := "a/../b?&=ü%"
	s.relays.list = []adminapi.Allocation{allocation("x/1", odd), allocation("2", odd)}
	s.registry.Refused(odd, "x")

	if st, err := c.Status(ctx); err != nil || st.Version != "1.2.3" {
		t.Errorf("status %+v %v", st, err)
	}
	if l, err := c.Nodes(ctx, "b?&", 1); err != nil || l.Total != 1 || l.Nodes[0].Allocations != 2 {
		t.Errorf("nodes %+v %v", l, err)
	}
	if err := c.CloseAllocation(ctx, "x/1"); err != nil {
		t.Error(err)
	}
	if err := c.CloseAllocation(ctx, "x/1"); !errors.Is(err, adminapi.ErrNotFound) || err.Error() != "no live allocation has this id" {
		t.Error(err)
	}
	if l, err := c.Allocations(ctx, odd, "traffic", 5); err != nil || l.Total != 1 || l.Allocations[0] != allocation("2", odd) {
		t.Errorf("allocations %+v %v", l, err)
	}
	if a, err := c.Ban(ctx, adminapi.BanRequest{Node: odd, Reason: "r", For: "1h"}); err != nil || a.Closed != 1 {
		t.Errorf("ban %+v %v", a, err)
	}
	if _, err := c.Ban(ctx, adminapi.BanRequest{}); err == nil || err.Error() != "node id is empty" {
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
	if err := c.Unban(ctx, odd); !errors.Is(err, adminapi.ErrNotFound) {
		t.Error(err)
	}
	if err := c.Ready(ctx); err != nil {
		t.Error(err)
	}
	s.setNotReady("draining")
	if err := c.Ready(ctx); !errors.Is(err, adminapi.ErrNotReady) || err.Error() != "not ready: draining" {
		t.Error(err)
	}
}

func TestClientErrors(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:8084", "ftp://x", "http://", "http://user:secret@x", "http://x?token=secret", "http://\x7f"} {
		if _, err := adminapi.NewClient(bad, ""); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s := serve(t, "0123abcd", nil)
	c, err := adminapi.NewClient(s.url, "wrong")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Bans(t.Context(), 0); !errors.Is(err, adminapi.ErrUnauthorized) {
		t.Error(err)
	}
	s.stop()
	if _, err := c.Bans(t.Context(), 0); !errors.Is(err, adminapi.ErrUnreachable) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "wrong") {
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
	if c, err = adminapi.NewClient(other.URL, "t"); err != nil {
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

func TestHealthWithoutToken(t *testing.T) {
	s := serve(t, "0123abcd", nil)
	c, err := adminapi.NewClient(s.url, "")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := c.Ready(t.Context()); err != nil || time.Since(start) > 5*time.Second {
		t.Error(err)
	}
}

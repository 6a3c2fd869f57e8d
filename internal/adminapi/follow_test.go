package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// Notes alone are handed on, as they come; the end of the server is an error, and that of the context none.
func TestFollow(t *testing.T) {
	seen := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("node") != "Al ice" || r.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("asked for %s with %s", r.URL, r.Header.Get("Authorization"))
		}
		fmt.Fprint(w, "retry: 2000\n\nevent: stats\ndata: {\"nodes\":1}\n\n: alive\n\nevent: note\ndata: {\"node\":\"Al ice\",\"kind\":\"banned\",\"detail\":\"x\"}\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-seen: // the first that follows has it
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	c, err := NewClient(server.URL, "token")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	if err := c.Follow(ctx, "Al ice", func(e nodes.Event) error {
		if n++; e.Node != "Al ice" || e.Kind != "banned" {
			t.Errorf("%+v", e)
		}
		cancel()
		return nil
	}); err != nil || n != 1 {
		t.Errorf("%v after %d events", err, n)
	}
	full := errors.New("full")
	if err := c.Follow(context.Background(), "Al ice", func(nodes.Event) error { return full }); !errors.Is(err, full) {
		t.Error(err)
	}
	if err := c.Follow(context.Background(), "Al ice", func(nodes.Event) error { close(seen); return nil }); err == nil {
		t.Error("the end of the server is no error")
	}
}

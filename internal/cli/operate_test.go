package cli

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// drain --wait ends where another program has taken the port, and does not take silence for the end.
func TestAwaitEnd(t *testing.T) {
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  error
	}{
		"another program": {http.NotFound, nil},
		"its successor": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"started":"2026-01-02T03:04:05Z"}`))
		}, nil},
		"broken connections": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil},
		"silence":            {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded},
		"still there": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"started":"2026-01-01T00:00:00Z","drain":{"allocations":1,"seconds_left":9}}`))
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.serve)
			t.Cleanup(server.Close)
			client, err := adminapi.NewClient(server.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if c.want == nil {
				ctx = t.Context()
			}
			if err := awaitEnd(ctx, client, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), adminapi.Drain{}); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

package app

import (
	"context"
	"strings"
	"testing"
	"time"
)

// The check behind the watchdog is one: it fails where a part does not answer.
func TestAliveAsksTheParts(t *testing.T) {
	var before error
	s := startSite(t, "", func(a *App) { // bound, but not running
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		before = a.supervisor.alive(ctx)
	})
	if before == nil || !strings.HasPrefix(before.Error(), "the TURN server: ") {
		t.Errorf("a server that does not run: %v", before)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.supervisor.alive(ctx); err != nil {
		t.Error(err)
	}
	limits := s.report.status().Limits
	if limits["broker.limits.connections"] <= 0 || limits["broker.limits.connections_per_ip"] != 1024 || limits["broker.limits.waiting_bytes"] != 4<<20 {
		t.Errorf("limits %v", limits)
	}
	s.Drain()
	if err := s.supervisor.alive(ctx); err != nil {
		t.Errorf("while it drains: %v", err)
	}
}

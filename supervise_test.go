package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The check behind the watchdog is one: it fails where a part does not answer.
func TestAliveAsksTheParts(t *testing.T) {
	var before error
	s := startSite(t, "", func(a *app) { // bound, but not running
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		before = a.alive(ctx)
	})
	if before == nil || !strings.HasPrefix(before.Error(), "the TURN server: ") {
		t.Errorf("a server that does not run: %v", before)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.alive(ctx); err != nil {
		t.Error(err)
	}
	s.app.drain()
	if err := s.alive(ctx); err != nil {
		t.Errorf("while it drains: %v", err)
	}
}

// Each stage ends when the one before it has ended, and a part that fails ends all.
func TestInOrder(t *testing.T) {
	var order atomic.Int32
	ended := make([]int32, 3)
	stage := func(i int) part {
		return func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Duration(2-i) * 10 * time.Millisecond) // what came too early would be seen
			ended[i] = order.Add(1)
			return nil
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := inOrder(ctx, []part{stage(0)}, []part{stage(1)}, []part{stage(2)}); err != nil || ended[0] != 1 || ended[1] != 2 || ended[2] != 3 {
		t.Errorf("%v, %v", ended, err)
	}
	broken := errors.New("broken")
	wait := func(ctx context.Context) error { <-ctx.Done(); return nil }
	if err := inOrder(t.Context(), []part{wait}, []part{func(context.Context) error { return broken }}, []part{wait}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

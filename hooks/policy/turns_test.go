package policy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rounds is turns with somebody who has the turn, so that the others wait in the order in which a test sends them.
type rounds struct {
	*turns
	t    *testing.T
	had  []string // who had a turn, in order
	gone []string // who had none
}

// in runs test in a bubble where time passes only when all wait.
func in(t *testing.T, test func(r *rounds)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rounds{turns: newTurns(), t: t}
		r.busy = true
		test(r)
		synctest.Wait()
		if r.busy || len(r.waiting) > 0 {
			t.Errorf("busy %v, %d wait", r.busy, len(r.waiting))
		}
	})
}

// send lets somebody wait for a turn, which then ends at once.
func (r *rounds) send(source, node string, idle bool) {
	var addr netip.Addr
	if source != "" {
		addr = netip.MustParseAddr(source)
	}
	go func() {
		ok := r.enter(r.t.Context(), addr, node, idle)
		r.mu.Lock()
		if ok {
			r.had = append(r.had, node)
		} else {
			r.gone = append(r.gone, node)
		}
		r.mu.Unlock()
		if ok && !idle {
			r.leave()
		}
	}()
	synctest.Wait()
}

// begin ends the turn that everybody waits for, and returns who has one, in order.
func (r *rounds) begin() string {
	r.leave()
	synctest.Wait()
	return strings.Join(r.had, " ")
}

// TestTurnsByNode floods with tries for one Node, and one after the other for others.
func TestTurnsByNode(t *testing.T) {
	in(t, func(r *rounds) {
		for range 10 {
			r.send("", "Mallory", false)
		}
		if len(r.gone) != 10-turnsPerNode {
			t.Errorf("%d of Mallory's have no place", len(r.gone))
		}
		for range 2 {
			r.send("", "Ned", false)
		}
		r.send("", "Alice", false)
		if got := r.begin(); got != "Mallory Ned Alice Mallory Ned Mallory Mallory" {
			t.Error(got)
		}
	})
	in(t, func(r *rounds) { // whoever had a turn before goes after whoever had none
		r.send("", "Mallory", false)
		r.leave()
		synctest.Wait()
		r.busy, r.had = true, nil
		for range turnsPerNode {
			r.send("", "Mallory", false)
		}
		r.send("", "Alice", false)
		if got := r.begin(); got != "Alice Mallory Mallory Mallory Mallory" {
			t.Error(got)
		}
	})
}

// TestTurnsBySource floods with a new Node id each time from one household, where sources are known.
func TestTurnsBySource(t *testing.T) {
	in(t, func(r *rounds) {
		for i := range 100 {
			r.send(fmt.Sprintf("2001:db8::%x", i+1), fmt.Sprintf("m%d", i), false)
		}
		if len(r.gone) != 100-turnsWaiting/2 {
			t.Errorf("%d have no place", len(r.gone))
		}
		r.send("192.0.2.1", "Alice", false)
		r.send("192.0.2.2", "Bob", false)
		r.send("192.0.2.2", "Ben", false)
		if got := r.begin(); !strings.HasPrefix(got, "m0 Alice Bob m1 Ben m2 m3 ") {
			t.Error(got)
		}
	})
}

// TestTurnsThatAreIdle floods with Nodes that no costly line is about.
func TestTurnsThatAreIdle(t *testing.T) {
	in(t, func(r *rounds) {
		for i := range turnsWaiting + 10 {
			r.send("", fmt.Sprintf("m%d", i), true)
		}
		if len(r.gone) != 10 {
			t.Errorf("%d have no place", len(r.gone))
		}
		r.send("", "Alice", false)
		r.send("", "Bob", false)
		if !slices.Contains(r.gone, "m127") || !slices.Contains(r.gone, "m126") {
			t.Errorf("it was not the last idle ones that gave way: %v", r.gone)
		}
		if r.begin(); slices.Index(r.had, "Alice") > slices.Index(r.had, "Bob") || len(r.had) != turnsWaiting {
			t.Error(r.had)
		}
		r.send("", "m0", true) // costs nobody a turn
		if len(r.had) != turnsWaiting+1 {
			t.Errorf("%d", len(r.had))
		}
	})
}

// TestTurnsEnd has some wait too long, and one give up.
func TestTurnsEnd(t *testing.T) {
	in(t, func(r *rounds) {
		r.send("", "Alice", false)
		ctx, cancel := context.WithCancel(r.t.Context())
		left := make(chan bool)
		go func() { left <- r.enter(ctx, netip.Addr{}, "Bob", false) }()
		synctest.Wait()
		cancel()
		if <-left {
			t.Error("who gave up has a turn")
		}
		before := r.refused.Load()
		time.Sleep(turnsWait)
		synctest.Wait()
		if len(r.gone) != 1 || r.refused.Load() != before+1 {
			t.Errorf("%v, %d refused", r.gone, r.refused.Load()-before)
		}
		r.leave()
	})
}

// TestHasherCostsStrangersNothing has unknown Nodes wait as long as a hash takes, and known ones have their token
// checked.
func TestHasherCostsStrangersNothing(t *testing.T) {
	h := newHasher(slog.New(slog.DiscardHandler))
	line, err := parseArgon(strings.TrimPrefix(argonLine("a", "right", 64), "a argon2id:"))
	if err != nil {
		t.Fatal(err)
	}
	lines := []*argonHash{line}
	if found, undecided := h.match(t.Context(), Request{Node: "a"}, "right", lines, line.cost()); !found || undecided {
		t.Error("the right token is not found")
	}
	if found, undecided := h.match(t.Context(), Request{Node: "a"}, "wrong", lines, line.cost()); found || undecided {
		t.Error("a wrong token is found")
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(slog.New(slog.DiscardHandler))
		start := time.Now()
		if found, undecided := h.match(t.Context(), Request{Node: "x"}, "right", nil, line.cost()); found || undecided {
			t.Error("an unknown Node is let in")
		}
		if took := time.Since(start); took != time.Duration(line.cost())*usualPace {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, undecided := h.match(ctx, Request{Node: "a"}, "right", lines, line.cost()); !undecided {
			t.Error("decided for nobody")
		}
	})
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
)

const (
	honestClients = 100
	inTime        = 3 * time.Second // to the allocation, or to the end of the handshake
	roundTrip     = 150 * time.Millisecond
	headStart     = 2 * time.Second // of the attack
	tailTime      = 4 * time.Second // for the last honest client
)

// scenario is an attack, and the honest clients that come meanwhile.
type scenario struct {
	name, unit string
	attackers  []worker                                                  // they share the rate
	honest     func(ctx context.Context, s *servers.Server, i int) error // a client's visit; nil: one relays all the time
}

// The attacks are those of the project's list of what strangers try: H and I (places), J (ClientHellos of DTLS), and K and L
// (a valid credential).
func scenarios() []scenario {
	crowd := func(says string) []worker {
		w := worker{Kind: "crowd", Rate: 10_000, Sources: 256, Says: says}
		return []worker{w, w}
	}
	return []scenario{
		{"crowd-silent", "connections/s", crowd(""), overTLS},
		{"crowd-binding", "connections/s", crowd("binding"), overTLS},
		{"crowd-hello", "connections/s", crowd("hello"), overTLS},
		{"hellos-spoofed", "hellos/s", []worker{{Kind: "hellos", Rate: 40_000}}, overDTLS},
		{"one-credential", "requests/s", []worker{{Kind: "misuse", Rate: 5000}}, nil},
	}
}

// row is what one scenario did to one server.
type row struct {
	scenario, server, unit string
	rate                   float64 // of the attack, in a second
	came, got              int     // honest clients, and those that were served in time
	times                  durations
	bindings               durations
	lost                   int     // Bindings without an answer
	cores                  float64 // processor time
	grown                  int64   // resident memory, at its most, less that before
}

// on starts a server, attacks it for as long as length, and stops it.
func (s scenario) on(ctx context.Context, k servers.Kind, dir, secret string, length time.Duration) (row, error) {
	r := row{scenario: s.name, server: k.Name(), unit: s.unit, came: honestClients}
	server, err := servers.Start(ctx, k, servers.Loopback, dir, secret)
	if err != nil {
		return r, err
	}
	defer server.Stop()
	pid := server.Cmd.Process.Pid
	before, err := proc.RSS(pid)
	if err != nil {
		return r, err
	}
	cpu, err := proc.CPU(pid)
	if err != nil {
		return r, err
	}
	var relayed *echo // there before the attack
	if s.honest == nil {
		if relayed, err = newEcho(ctx, server); err != nil {
			return r, err
		}
		defer relayed.close()
	}
	ctx, cancel := context.WithTimeout(ctx, headStart+length+2*inTime)
	defer cancel()
	attack, err := begin(ctx, s.attackers, server.At(server.TLS), secret)
	if err != nil {
		return r, err
	}
	begun := time.Now()
	pause(ctx, headStart)
	watched := watch(ctx, server)
	if s.honest != nil {
		r.times = visit(ctx, length-tailTime, func(i int) error { return s.honest(ctx, server, i) })
	} else {
		r.came, r.times = relayed.run(ctx, length)
	}
	w := watched()
	took := time.Since(begun)
	after, err := proc.CPU(pid)
	cancel()
	r.rate, r.bindings, r.lost, r.grown = attack()/took.Seconds(), w.bindings, w.lost, w.rss-before
	if err != nil {
		return r, fmt.Errorf("it has ended: %w: %s", err, server.Output)
	}
	r.cores = (after - cpu).Seconds() / took.Seconds()
	for _, d := range r.times {
		if d <= inTime {
			r.got++
		}
	}
	return r, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

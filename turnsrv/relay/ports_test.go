package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// clock is an injected time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

func TestAllPortsAreUsed(t *testing.T) {
	const lo, hi = 27001, 27070 // not at the words' borders
	w := newWorld(t, func(c *Config) { c.PortMin, c.PortMax = lo, hi })
	// Somebody else has one of them.
	foreign := net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback4, 27033))
	f, err := net.ListenUDP("udp4", foreign)
	if err != nil {
		t.Skip("the port is taken:", err)
	}
	c := w.client(w.udp4)
	server := c.src.Server
	open := func(i int, o OpenOptions) (*Relay, error) {
		src := c.src
		src.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(i+1))
		src.Server = server
		return w.Open(src, o)
	}
	var relays []*Relay
	seen := map[uint16]bool{}
	for i := range hi - lo {
		r, err := open(i, OpenOptions{Family: 4})
		if err != nil {
			t.Fatalf("relay %d: %v", i, err)
		}
		port := r.Addr().Port()
		if seen[port] || port < lo || port > hi || port == 27033 {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
		relays = append(relays, r)
	}
	if _, err := open(100, OpenOptions{Family: 4}); !errors.Is(err, ErrNoPorts) {
		t.Fatalf("beyond the range: %v", err)
	}
	if _, err := open(100, OpenOptions{Family: 6}); err != nil {
		t.Fatalf("the families share ports: %v", err)
	}
	for _, r := range relays[:20] { // freed and taken again at once
		port := r.Addr().Port()
		r.Close()
		n, err := open(200+int(port-lo), OpenOptions{Family: 4})
		if err != nil || n.Addr().Port() != port {
			t.Fatalf("the freed port %d: %v", port, err)
		}
	}
	_ = f.Close()
	if r, err := open(300, OpenOptions{Family: 4}); err != nil || r.Addr().Port() != 27033 {
		t.Errorf("the port that the other has given up: %v", err)
	}
	if n := w.FreePorts(4); n != 0 {
		t.Errorf("%d ports are free", n)
	}
}

func TestEvenPortsAndReservations(t *testing.T) {
	const lo, hi = 27101, 27110
	now := &clock{now: time.Now()}
	w := newWorld(t, func(c *Config) {
		c.PortMin, c.PortMax, c.Now, c.MaxReservations = lo, hi, now.Now, 3
		c.IdleTimeout, c.AuthTimeout, c.FrameTimeout = time.Hour, time.Hour, time.Hour
	})
	c := w.client(w.udp4)
	id := uint16(0)
	open := func(o OpenOptions) (*Relay, error) {
		id++
		src := c.src
		src.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), id)
		o.Family = 4
		return w.Open(src, o)
	}
	must := func(o OpenOptions) *Relay {
		t.Helper()
		r, err := open(o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// Even ports: 27102, 27104, 27106, 27108, 27110; the last has no port above it.
	var pairs []*Relay
	for range 3 {
		r := must(OpenOptions{Reserve: true})
		token, ok := r.Token()
		if port := r.Addr().Port(); port%2 != 0 || port == hi || !ok || token == [8]byte{} {
			t.Fatalf("port %d, token %x %t", port, token, ok)
		}
		pairs = append(pairs, r)
	}
	if _, err := open(OpenOptions{Reserve: true}); !errors.Is(err, ErrNoPorts) {
		t.Errorf("more reservations than allowed: %v", err)
	}
	token, _ := pairs[0].Token()
	r := must(OpenOptions{HasToken: true, Token: token})
	if r.Addr().Port() != pairs[0].Addr().Port()+1 {
		t.Errorf("the token gives port %d", r.Addr().Port())
	}
	if _, ok := r.Token(); ok {
		t.Error("a relay made with a token has one")
	}
	if _, err := open(OpenOptions{HasToken: true, Token: token}); !errors.Is(err, ErrToken) {
		t.Errorf("a token used twice: %v", err)
	}
	for range 2 {
		if p := must(OpenOptions{EvenPort: true}).Addr().Port(); p%2 != 0 {
			t.Errorf("port %d is odd", p)
		}
	}
	if _, err := open(OpenOptions{EvenPort: true}); !errors.Is(err, ErrNoPorts) {
		t.Errorf("no even port is left: %v", err)
	}
	// A token lives for 30 seconds, then its port is free, and not before.
	now.add(29 * time.Second)
	token, _ = pairs[1].Token()
	must(OpenOptions{HasToken: true, Token: token})
	free := w.FreePorts(4)
	now.add(2 * time.Second)
	token, _ = pairs[2].Token()
	if _, err := open(OpenOptions{HasToken: true, Token: token}); !errors.Is(err, ErrToken) {
		t.Errorf("an old token: %v", err)
	}
	within(t, "the reserved port is given back", func() bool {
		w.reserved.sweep(now.Now(), false)
		return w.FreePorts(4) == free+1
	})
}

func TestOpenErrors(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.IPv6 = Family{} })
	c := w.client(w.udp4)
	for _, f := range []int{0, 5, 6} {
		if _, err := w.Open(c.src, OpenOptions{Family: f}); !errors.Is(err, ErrFamily) {
			t.Errorf("family %d: %v", f, err)
		}
	}
	if _, err := w.Open(Source{}, OpenOptions{Family: 4}); !errors.Is(err, ErrClosed) {
		t.Errorf("a Source of nowhere: %v", err)
	}
	r := c.open(OpenOptions{})
	if _, err := w.Open(c.src, OpenOptions{Family: 4}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second relay: %v", err)
	}
	r.Close()
	r.Close()
	_ = c.open(OpenOptions{})
	w.stop()
	w.ended <- <-w.ended
	if _, err := w.Open(c.src, OpenOptions{Family: 4}); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	c.src.Send(binding())
	if n := w.FreePorts(4); n != 2001 {
		t.Errorf("%d ports are free after the end", n)
	}
}

func TestConfigErrors(t *testing.T) {
	h := &fakeControl{}
	v4, v6 := Family{Bind: loopback4}, Family{Bind: loopback6}
	for name, c := range map[string]Config{
		"no handler": {IPv4: v4},
		"range":      {Handler: h, IPv4: v4, PortMin: 10, PortMax: 9},
		"family 4":   {Handler: h, IPv4: v6},
		"family 6":   {Handler: h, IPv6: v4},
		"advertise":  {Handler: h, IPv4: Family{Bind: loopback4, Advertise: loopback6}},
		"rate":       {Handler: h, IPv4: v4, BitsPerSecond: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A second instance must notice the first.
func TestListenTwice(t *testing.T) {
	w := newWorld(t)
	p, err := New(Config{Handler: w.control, IPv4: Family{Bind: loopback4}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ListenUDP(w.udp4); err == nil {
		t.Error("the same address could be bound twice")
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Run(ended); err != nil {
		t.Error(err)
	}
}

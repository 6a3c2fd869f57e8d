package relay

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// end is a client's end of one path.
type end struct {
	src    Source
	put    func([]byte)
	next   func() []byte
	closed func() // waits for the server to close it; nil: it does not
	leave  func() // closes it, if that tells the server something
}

// paths are the ways to reach a world, by name.
func (w *world) paths(t *testing.T) map[string]func() *end {
	t.Helper()
	udp := func(server netip.AddrPort) func() *end {
		return func() *end {
			c := w.client(server)
			return &end{src: c.src, put: c.send, next: func() []byte { b, _ := c.next(); return b }}
		}
	}
	stream := func(tr Transport) func() *end {
		s := w.streams(tr)
		return func() *end {
			c := s.client()
			return &end{src: c.src, put: c.put, next: c.frame, closed: c.closed, leave: func() { _ = c.Close() }}
		}
	}
	return map[string]func() *end{
		"udp": udp(w.udp4), "udp6": udp(w.udp6), "wildcard": udp(netip.AddrPortFrom(loopback4, w.wild.Port())),
		"tcp": stream(TCP), "tls": stream(TLS),
		"dtls": func() *end {
			e, src, errs := messageConn(t, w)
			return &end{src: src, put: func(b []byte) { e.to(src.Server, b) }, next: func() []byte { b, _ := e.next(); return b }, closed: func() {
				select {
				case err := <-errs:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(patience):
					t.Error("it is still served")
				}
			}}
		},
	}
}

type move struct{ from, to Tuple }

func mobileWorld(t *testing.T) (*world, chan move, chan string) {
	moved, away := make(chan move, 16), make(chan string, 16)
	return newWorld(t, func(c *Config) {
		c.OnClientMoved = func(_ *Relay, from, to Tuple) { moved <- move{from, to} }
		c.OnClientAway = func(_ *Relay, cause string) { away <- cause }
	}), moved, away
}

// call is a relay with a channel to a peer in each of its families.
type call struct {
	*testing.T
	r     *Relay
	peers []*endpoint
	sent  int
}

func newCall(t *testing.T, r *Relay) *call {
	c := &call{T: t, r: r}
	for i, one := range r.both() {
		ip := loopback4
		if !one.family.Bind.Is4() {
			ip = loopback6
		}
		p := newEndpoint(t, ip)
		must(one.Permit(Grant{ip, ScopeAny}))
		must(one.Bind(0x4000+uint16(i), p.addr, ScopeAny, nil))
		c.peers = append(c.peers, p)
	}
	return c
}

func (c *call) text() []byte { c.sent++; return fmt.Appendf(nil, "datagram %7d", c.sent) }

// up passes data of e to every peer, on channels and in Send indications.
func (c *call) up(e *end) {
	c.Helper()
	for i, r := range c.r.both() {
		b := c.text()
		e.put(channelData(0x4000+uint16(i), b))
		c.peers[i].expect(r.Addr(), b)
		e.put(sendIndication(c.peers[i].addr, b))
		c.peers[i].expect(r.Addr(), b)
	}
}

// down passes data of every peer to e.
func (c *call) down(e *end) {
	c.Helper()
	for i, r := range c.r.both() {
		b := c.text()
		c.peers[i].to(r.Addr(), b)
		if got, want := e.next(), channelData(0x4000+uint16(i), b); !bytes.Equal(got, want) {
			c.Fatalf("got %q, want %q", got, want)
		}
	}
}

// A client moves between any two transports, addresses and families, and keeps what it has; the path that it left ends, and
// not before the client has sent something on the other.
func TestMoveOfClient(t *testing.T) {
	for _, both := range []bool{false, true} {
		w, moved, _ := mobileWorld(t)
		ways := w.paths(t)
		for a, from := range ways {
			for b, to := range ways {
				t.Run(fmt.Sprintf("%s to %s, both families %t", a, b, both), func(t *testing.T) { moveOnce(t, w, moved, from(), to(), both) })
			}
		}
	}
}

func moveOnce(t *testing.T, w *world, moved chan move, a, b *end, both bool) {
	r := openMobile(t, w, a.src, both)
	c := newCall(t, r)
	c.up(a)
	c.down(a)
	for range 2 { // a second one changes nothing
		must(r.Await(b.src))
	}
	if b.src.Relay() != nil || b.src.Awaited() != r || r.Tuple() != a.src.Tuple {
		t.Fatal("it has moved before the client was there")
	}
	c.down(a)
	c.up(a)
	c.up(b)
	select {
	case m := <-moved:
		if m != (move{a.src.Tuple, b.src.Tuple}) {
			t.Errorf("told of %v", m)
		}
	case <-time.After(patience):
		t.Error("nobody was told")
	}
	c.down(b)
	if a.src.Relay() != nil || b.src.Relay() != r || b.src.Awaited() != nil || r.Tuple() != b.src.Tuple {
		t.Error("it has not moved")
	}
	if a.closed != nil {
		a.closed()
	} else {
		a.put(channelData(0x4000, c.text())) // c.up shows that it was not relayed
		c.up(b)
	}
	s := r.Stats()
	if r.Close(); b.src.Relay() != r.Other() {
		t.Error("closed, and still there")
	}
	if s.Up.Dropped+s.Down.Dropped != 0 {
		t.Errorf("lost on the way: %+v", s)
	}
	r.closeBoth()
}

func openMobile(t *testing.T, w *world, src Source, both bool) *Relay {
	t.Helper()
	o := OpenOptions{Family: 4, Mobile: true}
	if both {
		r, failed := w.OpenPair(src, o)
		if r == nil || r.Other() == nil {
			t.Fatal(failed)
		}
		t.Cleanup(r.closeBoth)
		return r
	}
	r, err := w.Open(src, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// A client may be awaited at one place only, which the last Await names, and never where there is somebody else.
func TestAwait(t *testing.T) {
	w, moved, _ := mobileWorld(t)
	for _, kind := range []string{"udp", "tcp", "dtls"} {
		t.Run(kind, func(t *testing.T) {
			at := w.paths(t)[kind]
			home, first, second, other := at(), at(), at(), at()
			r := openMobile(t, w, home.src, true)
			taken := openMobile(t, w, other.src, false)
			if err := r.Await(other.src); !errors.Is(err, ErrInUse) {
				t.Errorf("where another relay's client is: %v", err)
			}
			if err := r.Await(home.src); !errors.Is(err, ErrInUse) {
				t.Errorf("where the client is already: %v", err)
			}
			must(r.Await(first.src))
			if err := taken.Await(first.src); !errors.Is(err, ErrInUse) {
				t.Errorf("where another relay's client is awaited: %v", err)
			}
			must(r.Await(second.src))
			if first.src.Awaited() != nil || second.src.Awaited() != r {
				t.Error("awaited at two places, or at none")
			}
			first.src.Arrive()
			if r.Tuple() != home.src.Tuple {
				t.Error("moved to where it was not awaited any more")
			}
			o := r.Other()
			r.Close() // the other of the pair has it then
			if second.src.Awaited() != o || home.src.Relay() != o {
				t.Error("the pair's other relay is not awaited")
			}
			second.src.Arrive()
			if m := <-moved; m.to != second.src.Tuple || second.src.Relay() != o {
				t.Error("the pair's other relay did not move")
			}
			must(o.Await(first.src))
			o.Close()
			if first.src.Awaited() != nil || second.src.Relay() != nil {
				t.Error("an ended relay is still awaited")
			}
			if err := o.Await(first.src); !errors.Is(err, ErrClosed) {
				t.Errorf("of an ended relay: %v", err)
			}
			first.src.Arrive()
			if first.src.Relay() != nil {
				t.Error("an ended relay moved")
			}
		})
	}
}

// A client that does not come within a minute is awaited no longer, and one whose relay has no other path for longer.
func TestAwaitEnds(t *testing.T) {
	var clock atomic.Int64
	begun := time.Now()
	w := newWorld(t, func(c *Config) { c.Now = func() time.Time { return begun.Add(time.Duration(clock.Load())) } })
	pass := func(d time.Duration) {
		clock.Add(int64(d))
		w.Sweep()
	}
	at := w.paths(t)["udp"]
	for _, both := range []bool{false, true} {
		home, next := at(), at()
		r := openMobile(t, w, home.src, both)
		must(r.Await(next.src))
		pass(AwaitLife - time.Second)
		must(r.Await(next.src)) // it has not had the answer
		pass(AwaitLife - time.Second)
		if next.src.Awaited() != r {
			t.Fatal("it had more time")
		}
		pass(2 * time.Second)
		if next.src.Awaited() != nil {
			t.Error("it is still awaited")
		}
		next.src.Arrive()
		c := newCall(t, r)
		c.up(home)
		c.down(home)
		must(r.Await(next.src))
		c.up(next)
		c.down(next)
		pass(2 * AwaitLife)
		c.down(next)
	}
}

// A mobile relay outlives its client's stream: the client comes back on another one, and gets what peers send from Await on.
func TestClientAway(t *testing.T) {
	w, moved, away := mobileWorld(t)
	s := w.streams(TCP)
	stream := func() *end {
		c := s.client()
		return &end{src: c.src, put: c.put, next: c.frame, closed: c.closed, leave: func() { _ = c.Close() }}
	}
	left := func() {
		t.Helper()
		select {
		case why := <-away:
			if why != "the client closed the connection" {
				t.Error(why)
			}
		case <-time.After(patience):
			t.Fatal("nobody was told that the client is away")
		}
	}
	for _, both := range []bool{false, true} {
		home, second, third := stream(), stream(), stream()
		r := openMobile(t, w, home.src, both)
		c := newCall(t, r)
		c.up(home)
		home.leave()
		left()
		within(t, "the relay knows", func() bool { return r.path.Load().isAway() })
		before := r.Stats().Down.Drops[Unsent]
		c.peers[0].to(r.Addr(), []byte("lost"))
		counted(t, r, func(s Stats) bool { return s.Down.Drops[Unsent] == before+1 })
		must(r.Await(second.src))
		c.down(second) // though it has not said a word
		second.leave()
		within(t, "the relay knows", func() bool { return second.src.stream.awaited.Load() == nil && r.path.Load().isAway() })
		must(r.Await(third.src))
		c.up(third)
		c.down(third)
		if m := <-moved; m.to != third.src.Tuple || m.from != third.src.Tuple {
			t.Errorf("moved %v", m)
		}
		third.leave()
		left()
		r.closeBoth()
	}
	// Where it is awaited as its stream ends, it is sent what comes from then on.
	home, next := stream(), stream()
	r := openMobile(t, w, home.src, false)
	c := newCall(t, r)
	must(r.Await(next.src))
	home.leave()
	left()
	within(t, "the relay knows", func() bool { return r.Tuple() == next.src.Tuple })
	c.down(next)
	c.up(next)
}

// Whatever clients do while they move, relays end, and datagrams are on their way: nothing goes to where a client was once
// its first message from elsewhere has been passed on, and what is there at the end works.
func TestMovesUnderTraffic(t *testing.T) {
	w, moved, _ := mobileWorld(t)
	ends := w.paths(t)
	var all []*end
	for range 2 {
		for _, one := range ends {
			if e := one(); e.closed == nil {
				all = append(all, e)
			}
		}
	}
	r := openMobile(t, w, all[0].src, false)
	peer := newEndpoint(t, loopback4)
	must(r.Permit(Grant{loopback4, ScopeAny}))
	must(r.Bind(0x4000, peer.addr, ScopeAny, nil))
	var flood sync.WaitGroup
	var sent atomic.Uint64
	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop); flood.Wait() })
	defer end()
	flood.Go(func() {
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := peer.WriteToUDPAddrPort(fmt.Appendf(nil, "%012d", i), r.Addr()); err != nil {
				t.Error(err)
				return
			}
			sent.Store(i)
			if i%4 == 0 { // no socket's buffer may overflow
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	for i := range 200 {
		from, to := all[i%len(all)], all[(i+1)%len(all)]
		must(r.Await(to.src))
		word := fmt.Appendf(nil, "move %3d", i)
		to.put(channelData(0x4000, word))
		peer.expect(r.Addr(), word)
		if m := <-moved; m != (move{from.src.Tuple, to.src.Tuple}) {
			t.Fatalf("moved %v", m)
		}
		mark := channelData(0x4000, fmt.Appendf(nil, "%012d", sent.Load()+1)) // sent after the move, so never to the old end
		from.src.Send(mark[:4])                                               // the last that it is sent: what comes before was sent earlier
		for {
			b := from.next()
			if len(b) == 4 {
				break
			}
			if bytes.Compare(b, mark) > 0 {
				t.Fatalf("%q went to where the client was, %q came after it had left", b, mark)
			}
		}
	}
	end()
	r.Close()
	for _, e := range all {
		if e.src.Relay() != nil || e.src.Awaited() != nil {
			t.Error("something is left over")
		}
	}
}

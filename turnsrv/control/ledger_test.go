package control

import (
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// book is a Ledger that a test reads and sets.
type book struct {
	mu     sync.Mutex
	opened map[string]int
	used   map[string]Used
	limit  map[string]Exhaustion // "" stands for every Node
}

func (b *book) Opened(node string) { b.mu.Lock(); defer b.mu.Unlock(); b.opened[node]++ }

func (b *book) Used(node string, u Used) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := b.used[node]
	b.used[node] = Used{sum.Up + u.Up, sum.Down + u.Down, sum.For + u.For}
}

func (b *book) Exhausted(node string) (Exhaustion, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.limit[""]; e != "" {
		return e, "all is used"
	}
	if e := b.limit[node]; e != "" {
		return e, "its own is used"
	}
	return "", ""
}

func (b *book) set(node string, e Exhaustion) { b.mu.Lock(); defer b.mu.Unlock(); b.limit[node] = e }

func (b *book) of(node string) Used { b.mu.Lock(); defer b.mu.Unlock(); return b.used[node] }

func newBook() *book {
	return &book{opened: map[string]int{}, used: map[string]Used{}, limit: map[string]Exhaustion{}}
}

// What is relayed is told once, with headers, whether the allocation lives or has ended, and time only if it relayed.
func TestLedgerIsTold(t *testing.T) {
	b := newBook()
	r := newRig(t, func(c *Config, _ *relay.Config) { c.Ledger = b })
	peer, addr := udpPeer(t, "127.0.0.1")
	c := r.client(t, "alice", time.Hour)
	a := allocate(t, c)
	if err := c.Permit(within(t), addr); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Minute)
	r.Account()
	if got := b.of("alice"); got != (Used{}) || b.opened["alice"] != 1 {
		t.Errorf("before anything was relayed: %+v, %d opened", got, b.opened["alice"])
	}
	up := func(n int) {
		if err := c.Send(addr, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Read(make([]byte, 2000)); err != nil {
			t.Fatal(err)
		}
	}
	passed := func(up, down uint64) { // a counter moves when the datagram has left
		eventually(t, "it is counted", func() bool {
			s := r.Allocations()[0].Stats
			return s.Up.Datagrams == up && s.Down.Datagrams == down
		})
	}
	up(100)
	passed(1, 0)
	r.clock.add(3 * time.Second)
	r.Account()
	r.clock.add(time.Minute)
	r.Account()
	if got := b.of("alice"); got != (Used{Up: 128, For: 3 * time.Second}) {
		t.Errorf("one datagram: %+v", got)
	}
	if _, err := peer.WriteToUDP(make([]byte, 50), net.UDPAddrFromAddrPort(a.Relayed)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(within(t)); err != nil {
		t.Fatal(err)
	}
	passed(1, 1)
	r.clock.add(2 * time.Second)
	if r.CloseNode("alice", "the test wants it") != 1 {
		t.Fatal("not closed")
	}
	if got := b.of("alice"); got != (Used{Up: 128, Down: 78, For: 5 * time.Second}) {
		t.Errorf("after its end: %+v", got)
	}
	r.Account()
	if got := b.of("alice"); got.Up != 128 || got.Down != 78 {
		t.Errorf("told twice: %+v", got)
	}
}

// At a limit live allocations end with their cause, and new ones are refused with it, until it is raised.
func TestLedgerEndsAllocations(t *testing.T) {
	b := newBook()
	r := newRig(t, func(c *Config, _ *relay.Config) { c.Ledger = b })
	alice, bob := r.client(t, "alice", time.Hour), r.client(t, "bob", time.Hour)
	allocate(t, alice)
	allocate(t, bob)
	b.set("alice", NodeExhausted)
	r.Account()
	if r.Live() != 1 || !r.nodes.noted("ended: its own is used") {
		t.Errorf("%d live, %q", r.Live(), r.nodes.notes)
	}
	wantCode(t, "alice again", allocateErr(t, alice), 486)
	if !r.nodes.noted("alice: allocation refused: its own is used") {
		t.Errorf("%q", r.nodes.notes)
	}
	b.set("", ServerExhausted)
	wantCode(t, "carol", allocateErr(t, r.client(t, "carol", time.Hour)), 508)
	r.Account()
	if r.Live() != 0 || !r.nodes.noted("ended: all is used") {
		t.Errorf("%d live, %q", r.Live(), r.nodes.notes)
	}
	st := r.Stats()
	if want := (map[Exhaustion]uint64{NodeExhausted: 1, ServerExhausted: 1}); !reflect.DeepEqual(st.Cut, want) ||
		st.Refusals[Refusal{486, "node_bytes"}] != 1 || st.Refusals[Refusal{508, "server_bytes"}] != 1 {
		t.Errorf("cut %v, refused %v", st.Cut, st.Refusals)
	}
	b.set("", "")
	b.set("alice", "")
	allocate(t, alice)
}

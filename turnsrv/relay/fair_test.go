package relay

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"
)

func TestLevel(t *testing.T) {
	for _, c := range []struct {
		demands []float64
		want    float64
	}{
		{nil, 100}, {[]float64{10}, 100}, {[]float64{500}, 100}, {[]float64{500, 500}, 50}, {[]float64{500, 10}, 90},
		{[]float64{20, 500, 30, 400}, 80.0 / 3}, {[]float64{10, 500, 20, 400}, 35}, {[]float64{50, 50}, 50}, {[]float64{40, 50}, 60},
	} {
		got := level(slices.Clone(c.demands), 100)
		if math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v: %v, want %v", c.demands, got, c.want)
		}
		sum := 0.0
		for _, d := range c.demands {
			sum += min(d, got)
		}
		if sum > 100+1e-9 {
			t.Errorf("%v: all together take %v", c.demands, sum)
		}
	}
}

// node wants so much, in datagrams of 1200 bytes over some relays, and counts what it got.
type node struct {
	share  *Share
	relays []*Relay
	bits   float64 // per second that it sends
	owed   float64
	got    float64 // bits
	lost   int
}

// market has Nodes send under a clock that it moves. Its Plane does not run, so that nothing else balances.
type market struct {
	testing.TB
	*Plane
	now   *clock
	nodes []*node
	txs   []*tx
}

const share = 1200 + 28

func newMarket(t *testing.T, total int64) *market {
	now := &clock{now: time.Now()}
	p, err := New(Config{Handler: &fakeControl{}, IPv4: Family{Bind: loopback4}, TotalBitsPerSecond: total, Now: now.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Run(ended)
	})
	return &market{TB: t, now: now, Plane: p}
}

func (m *market) add(bits float64, relays int) *node {
	n := &node{share: NewShare(), bits: bits}
	for range relays {
		r := &Relay{plane: m.Plane, family: &place{Family: m.cfg.IPv4}, share: n.share}
		m.fair.enter(n.share)
		n.relays = append(n.relays, r)
	}
	m.nodes = append(m.nodes, n)
	return n
}

// run lets d pass, a millisecond at a time, over two workers.
func (m *market) run(d time.Duration) {
	for len(m.txs) < 2 {
		m.txs = append(m.txs, &tx{plane: m.Plane})
	}
	for _, n := range m.nodes {
		n.got, n.lost = 0, 0
	}
	for i := range int(d / time.Millisecond) {
		m.now.add(time.Millisecond)
		for j := range m.nodes {
			n := m.nodes[(i+j)%len(m.nodes)] // nobody is always the first
			for n.owed += n.bits / 1000; n.owed >= share*8; n.owed -= share * 8 {
				x, r := m.txs[(i+j)%2], n.relays[i%len(n.relays)]
				x.now = m.nanos()
				meter := &r.up
				if i%2 == 0 {
					meter = &r.down
				}
				if x.admit(r, meter, 1200) {
					n.got += share * 8
				} else {
					n.lost++
				}
			}
		}
		if i%100 == 0 {
			m.balance()
		}
	}
	for _, n := range m.nodes {
		n.got /= d.Seconds()
	}
}

func (m *market) want(what string, n *node, bits float64) {
	m.Helper()
	if math.Abs(n.got-bits) > bits*0.06 {
		m.Errorf("%s got %.2f Mbit/s of %.2f, want %.2f", what, n.got/1e6, n.bits/1e6, bits/1e6)
	}
}

// Whoever wants less than its fair part gets all of it, whoever wants more gets the same as others that do, however many
// relays it has, and what one leaves the others take.
func TestTotalIsSharedFairly(t *testing.T) {
	m := newMarket(t, 100e6)
	audio := m.add(100e3, 1)
	video := m.add(5e6, 1)
	hog, hogs, third := m.add(400e6, 1), m.add(400e6, 8), m.add(60e6, 1)
	m.run(2 * time.Second) // to find the level
	m.run(5 * time.Second)
	even := (0.97*100e6 - 5.1e6) / 3
	m.want("audio", audio, 100e3)
	m.want("video", video, 5e6)
	m.want("one that wants all", hog, even)
	m.want("one with eight relays", hogs, even)
	m.want("the third", third, even)
	if audio.lost+video.lost != 0 {
		t.Errorf("those who want little lost %d and %d datagrams", audio.lost, video.lost)
	}
	sum := 0.0
	for _, n := range m.nodes {
		sum += n.got
	}
	if sum > 100e6 || sum < 90e6 {
		t.Errorf("all together got %.1f Mbit/s of 100", sum/1e6)
	}
	hog.bits, hogs.bits = 0, 0
	m.run(2 * time.Second)
	m.run(3 * time.Second)
	m.want("the third, with the others gone", third, 60e6)
	if third.lost != 0 {
		t.Errorf("it lost %d datagrams of what there is", third.lost)
	}
	m.SetTotalBitsPerSecond(0)
	hog.bits = 400e6
	m.run(time.Second)
	m.want("without a limit", hog, 400e6)
}

// Many that begin at once do not get more than the total, not even before the level is found.
func TestTotalHoldsAtOnce(t *testing.T) {
	m := newMarket(t, 20e6)
	for range 50 {
		m.add(10e6, 1)
	}
	m.run(time.Second)
	sum := 0.0
	for _, n := range m.nodes {
		sum += n.got
	}
	if most := 20e6*1.25 + 2*lump*8 + share*8; sum > most {
		t.Errorf("%.1f Mbit in the first second, at most %.1f", sum/1e6, most/1e6)
	}
	m.run(2 * time.Second)
	m.run(10 * time.Second)
	for i, n := range m.nodes {
		if math.Abs(n.got-0.97*20e6/50) > 0.1*20e6/50 {
			t.Errorf("the %d. got %.0f kbit/s of %.0f", i, n.got/1e3, 0.97*20e6/50/1e3)
		}
	}
}

// What is refused is counted under its cause, in both directions and on every engine, and what passes passes.
func TestOverTotal(t *testing.T) {
	now := &clock{now: time.Now()}
	m := newWorld(t, func(c *Config) { c.TotalBitsPerSecond, c.Now = 8*share*100, now.Now }) // 100 datagrams a second, a quarter of them at once
	c, peer := m.client(m.udp4), newEndpoint(t, loopback4)
	r := c.open(OpenOptions{})
	r.bind(0x4000, peer.addr, ScopeAny)
	data := make([]byte, 1200)
	now.add(time.Second)
	for range 200 {
		c.send(channelData(0x4000, data))
	}
	within(t, "all are counted", func() bool { s := r.Stats().Up; return s.Datagrams+s.Dropped == 200 })
	up := r.Stats().Up
	if n := up.Datagrams; n < 20 || n > 60 || up.Drops[OverTotal] != 200-n {
		t.Errorf("%d datagrams passed, drops %v", n, up.Drops)
	}
	for range up.Datagrams {
		peer.expect(r.Addr(), data)
	}
	now.add(time.Second)
	for range 200 {
		peer.to(r.Addr(), data)
	}
	within(t, "all are counted", func() bool { s := r.Stats().Down; return s.Datagrams+s.Dropped == 200 })
	if down := r.Stats().Down; down.Datagrams < 20 || down.Datagrams > 60 || down.Drops[OverTotal] != 200-down.Datagrams {
		t.Errorf("back: %+v", down)
	}
}

// A Share is forgotten with the last relay that has it.
func TestSharesEnd(t *testing.T) {
	m := newWorld(t)
	share := NewShare()
	var relays []*Relay
	for range 2 {
		relays = append(relays, m.client(m.udp4).open(OpenOptions{Share: share}))
	}
	other := m.client(m.udp4).open(OpenOptions{})
	count := func() int { m.fair.mu.Lock(); defer m.fair.mu.Unlock(); return len(m.fair.shares) }
	if count() != 2 {
		t.Errorf("%d shares", count())
	}
	relays[0].Close()
	relays[0].Close()
	other.Close()
	if count() != 1 {
		t.Errorf("%d shares", count())
	}
	relays[1].Close()
	if count() != 0 {
		t.Errorf("%d shares", count())
	}
}

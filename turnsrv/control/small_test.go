package control

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func tuple(client string) relay.Tuple {
	return relay.Tuple{Transport: relay.UDP, Client: netip.MustParseAddrPort(client), Server: netip.MustParseAddrPort("192.0.2.1:3478")}
}

func TestNonceHoldsForOneSourceAndOneHour(t *testing.T) {
	k := &clock{t: time.Unix(1e9, 0)}
	n := newNonces(k.now)
	a := tuple("192.0.2.9:1000")
	nonce := []byte(n.make(a, 0))
	if len(nonce) != nonceLen {
		t.Fatalf("nonce has %d bytes", len(nonce))
	}
	tcp := a
	tcp.Transport = relay.TCP
	for name, c := range map[string]struct {
		from  relay.Tuple
		nonce []byte
		by    *nonces
		want  bool
	}{
		"its source":      {a, nonce, n, true},
		"another address": {tuple("192.0.2.8:1000"), nonce, n, false},
		"another port":    {tuple("192.0.2.9:1001"), nonce, n, false},
		"other transport": {tcp, nonce, n, false},
		"after a restart": {a, nonce, newNonces(k.now), false},
		"cut":             {a, nonce[:15], n, false},
		"empty":           {a, nil, n, false},
		"no base64":       {a, []byte("****************"), n, false},
	} {
		if got := c.by.valid(c.from, c.nonce); got != c.want {
			t.Errorf("%s: valid = %v", name, got)
		}
	}
	for i := range nonce {
		bad := append([]byte(nil), nonce...)
		bad[i] ^= 1
		if n.valid(a, bad) {
			t.Errorf("accepted with byte %d changed", i)
		}
	}
	k.add(nonceLife)
	if !n.valid(a, nonce) {
		t.Error("refused within its hour")
	}
	k.add(2 * time.Second)
	if n.valid(a, nonce) {
		t.Error("accepted after its hour")
	}
}

func TestSourcesAnswersAreBounded(t *testing.T) {
	k := &clock{t: time.Unix(1e9, 0)}
	s := newSources(200, k.now)
	count := func(ip string, n int) (ok int) {
		for range n {
			if s.allow(netip.MustParseAddr(ip)) {
				ok++
			}
		}
		return ok
	}
	if got := count("192.0.2.1", 1000); got != 200 {
		t.Errorf("%d answers in the first second", got)
	}
	if got := count("192.0.2.2", 10); got != 10 {
		t.Errorf("another source got %d of 10", got)
	}
	if got := count("2001:db8::1", 150) + count("2001:db8::ffff:2", 150); got != 200 {
		t.Errorf("one /64 got %d answers", got)
	}
	if got := count("2001:db8:0:1::1", 1); got != 1 {
		t.Error("the next /64 got none")
	}
	k.add(time.Second)
	if got := count("192.0.2.1", 1000); got != 200 {
		t.Errorf("%d answers in the next second", got)
	}
	if got := newSources(0, k.now); !got.allow(netip.MustParseAddr("192.0.2.1")) {
		t.Error("no limit refuses")
	}
}

// However many addresses strangers invent, the table stays as it is and a fresh source is served.
func TestSourcesTableIsFixed(t *testing.T) {
	s := newSources(1, time.Now)
	for i := range 200_000 {
		s.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if !s.allow(netip.MustParseAddr("192.0.2.1")) {
		t.Error("a fresh source is refused")
	}
}

func TestQuotaIsExactUnderConcurrency(t *testing.T) {
	q := newQuota(nil)
	q.limits(50, 7, 0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for i := range 400 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			node := fmt.Sprint(i % 10)
			if _, full, _ := q.take(node); full == "" {
				mu.Lock()
				got[node]++
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	total := 0
	for node, n := range got {
		if n > 7 {
			t.Errorf("node %s has %d", node, n)
		}
		total += n
	}
	if total != 50 {
		t.Errorf("%d places were given", total)
	}
	for node, n := range got {
		for range n {
			q.give(node)
		}
	}
	if q.all != 0 || len(q.nodes) != 0 {
		t.Errorf("left over: %d, %v", q.all, q.nodes)
	}
}

//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

var churn = flag.Duration("churn", 5*time.Second, "how long relays, channels and interfaces come and go")

// files counts the descriptors of this process.
func files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// churner is one client after the other.
func (w *world) churner(t *testing.T, r *rand.Rand, peers []*endpoint, others *sync.Map, running func() bool) {
	for running() {
		c := w.client()
		others.Store(c, nil)
		for range r.IntN(30) {
			number := 0x4000 + uint16(r.IntN(4))
			p := peers[r.IntN(len(peers))]
			switch r.IntN(12) {
			case 0, 1, 2:
				_ = c.r.Bind(number, p.addr, relay.ScopeAny, nil)
			case 3:
				others.Range(func(o, _ any) bool {
					_ = c.r.Bind(number, o.(*client).r.Addr(), relay.ScopeRelays, nil)
					return r.IntN(3) > 0
				})
			case 4:
				c.r.Restrict(func(netip.Addr) relay.Scope { return relay.Scope(r.IntN(3)) })
			case 5:
				w.SetBitsPerSecond(int64(r.IntN(2)) << 40)
			case 6:
				_ = c.r.Stats()
			default:
				if r.IntN(2) == 0 {
					time.Sleep(60 * time.Millisecond) // after which the kernel takes a flow
				}
				for range r.IntN(50) {
					_, _ = c.WriteToUDPAddrPort(framed(number, random(r.IntN(300))), w.server)
					_, _ = p.WriteToUDPAddrPort(random(r.IntN(300)), c.r.Addr())
				}
			}
		}
		others.Delete(c)
		c.r.Close()
		_ = c.Close()
	}
	w.SetBitsPerSecond(0)
}

// Whatever comes and goes, nothing stays behind: no entry, flow, watch, program or file.
func TestChurn(t *testing.T) {
	if !alone(t, true) {
		return
	}
	w := newBareWorld(t, 4)
	w.clients, w.peer = newSpace(t), newSpace(t)
	joined(t, "c4", 14, w.clients)
	joined(t, "p4", 24, w.peer)
	w.clients.Run("ethtool -K c4x gro on") // XDP needs it, between clients
	w.start(t, netip.AddrPortFrom(address(4, 14, 2), 0), relay.Family{Bind: address(4, 24, 2)})
	var peers []*endpoint
	for range 4 {
		peers = append(peers, w.far())
	}
	before := files(t)
	end := time.Now().Add(*churn)
	running := func() bool { return time.Now().Before(end) }
	var others sync.Map
	var all sync.WaitGroup
	var rounds atomic.Int64
	for i := range 6 {
		all.Go(func() { w.churner(t, rand.New(rand.NewPCG(uint64(i), 1)), peers, &others, running) })
	}
	all.Go(func() { // ways are trusted, lost and proved anew meanwhile
		for n := 0; running(); n++ {
			w.kernel.mu.Lock()
			w.kernel.lenient = n%2 == 0
			for _, u := range w.kernel.proofs {
				if u.trust = trusted; n%3 == 2 {
					u.trust = untried
				}
				w.kernel.settleAll(u)
			}
			w.kernel.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		}
	})
	all.Go(func() {
		for running() {
			time.Sleep(500 * time.Millisecond)
			netspace.Run(t, "ip link set p4 down")
			netspace.Run(t, "ip link set p4 up")
			netspace.Run(t, "ip address add 198.18.14.77/24 dev c4")
			netspace.Run(t, "ip address del 198.18.14.77/24 dev c4")
			joined(t, "q4", 60, w.peer)
			netspace.Run(t, "ip link delete q4")
			rounds.Add(1)
		}
	})
	all.Wait()
	r := w.kernel.Report()
	if t.Logf("%d rounds, %+v", rounds.Load(), r); r.Taken == 0 {
		t.Error("the kernel took nothing")
	}
	await(t, "nothing is watched", func() bool {
		w.kernel.mu.Lock()
		defer w.kernel.mu.Unlock()
		return len(w.kernel.pairs) == 0
	})
	w.kernel.mu.Lock()
	if n := len(w.kernel.byKey); n != 0 || len(w.kernel.free) != len(w.kernel.flows) || len(w.kernel.proofs) > 6 {
		t.Errorf("%d keys, %d of %d slots, %d proofs are left", n, len(w.kernel.flows)-len(w.kernel.free), len(w.kernel.flows), len(w.kernel.proofs))
	}
	for i, u := range w.kernel.proofs {
		if u.trials != 0 {
			t.Errorf("%+v: %d trials are left", i, u.trials)
		}
	}
	w.kernel.mu.Unlock()
	if n := w.entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	await(t, "no file is left", func() bool { return files(t) <= before+4 })
}

//go:build !portable && (amd64 || arm64 || riscv64)

package turnsrv

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
)

// account is a Ledger with as many bytes for everybody as a test gives.
type account struct {
	mu   sync.Mutex
	used map[string]uint64
	most uint64 // 0: no limit
}

func (*account) Opened(string) {}

func (a *account) Used(node string, u control.Used) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used[node] += u.Up + u.Down
}

func (a *account) Exhausted(node string) (control.Exhaustion, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.most != 0 && a.used[node] >= a.most {
		return control.NodeExhausted, "spent"
	}
	return "", ""
}

// Whatever ends a call or a channel, the kernel relays nothing of it once that has been answered, while both ends go on
// sending: bans, peers that are denied now, limits, expiry, Refresh with a lifetime of 0.
func TestOffloadEndsWithTheAnswer(t *testing.T) {
	if !alone(t) {
		return
	}
	books := &account{used: map[string]uint64{}}
	set := Settings{Settings: control.Settings{MaxSession: time.Hour}, DrainTimeout: 50 * time.Millisecond}
	var policy *peers.Policy
	s, o := startOffloaded(t, func(c *Config) { policy, c.Ledger = c.Peers, books })
	for i, c := range []struct {
		name string
		end  func(t *testing.T, c *talk)
		live bool // by the sockets
		undo func()
	}{
		{"ban", func(t *testing.T, _ *talk) {
			if n := s.CloseNode("n0", "banned"); n != 1 {
				t.Errorf("%d allocations were closed", n)
			}
		}, false, nil},
		{"Refresh", func(t *testing.T, c *talk) { must(c.Refresh(within(t), 0))(t) }, false, nil},
		{"peers", func(t *testing.T, _ *talk) {
			must(policy.Prepare([]string{peers.Recommended}, nil))(t).Apply()
			s.Recheck()
		}, false, func() {
			must(policy.Prepare([]string{peers.Recommended}, []string{"198.18.0.0/24"}))(t).Apply()
		}},
		{"bits_per_second", func(_ *testing.T, _ *talk) {
			limited := set
			limited.BitsPerSecond = 1 << 30
			s.apply(limited)
		}, true, func() { s.apply(set) }},
		{"month", func(*testing.T, *talk) {
			books.mu.Lock()
			books.most = 1
			books.mu.Unlock()
			s.Account()
		}, false, func() { books.most = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			call := newTalk(t, s, o, fmt.Sprint("n", i), 12)
			before := s.Offload().Taken
			eventually(t, "the kernel relays both ways", func() bool { return s.Offload().Taken > before+100 })
			c.end(t, call)
			after, last := s.Offload().Taken, call.sent.Load() // what was sent before may still be under way
			n := call.drain(last)
			time.Sleep(300 * time.Millisecond) // in which both go on sending
			if n := s.Offload().Taken; n != after {
				t.Errorf("the kernel relayed %d datagrams afterwards", n-after)
			}
			if n += call.drain(last); (n > 0) != c.live {
				t.Errorf("%d datagrams came", n)
			}
			if n := s.Offload().Flows; n != 0 {
				t.Errorf("%d flows are left", n)
			}
			call.end()
			_ = call.Close()
			s.CloseNode(fmt.Sprint("n", i), "the test ends")
			if c.undo != nil {
				c.undo()
			}
		})
	}
}

// drain takes what both ends have got, and counts what was sent after a number.
func (c *talk) drain(after uint64) (n int) {
	count := func(b []byte) {
		if binary.BigEndian.Uint64(b) > after {
			n++
		}
	}
	for b := make([]byte, 2000); ; {
		select {
		case d := <-c.Data():
			count(d.Data)
			continue
		default:
		}
		_ = c.peer.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, _, err := c.peer.ReadFromUDPAddrPort(b); err != nil {
			return n
		}
		count(b)
	}
}

// What the kernel relays is in the Node's account to the byte, as if the sockets had relayed it.
func TestOffloadIsAccounted(t *testing.T) {
	if !alone(t) {
		return
	}
	books := &account{used: map[string]uint64{}}
	s, o := startOffloaded(t, func(c *Config) { c.Ledger = books })
	call := newTalk(t, s, o, "n", 12)
	before := s.Offload().Taken
	eventually(t, "the kernel relays", func() bool { return s.Offload().Taken > before+200 })
	call.end()
	eventually(t, "all has arrived", func() bool {
		was := s.Allocations()[0].Stats
		time.Sleep(20 * time.Millisecond)
		return was == s.Allocations()[0].Stats
	})
	st := s.Allocations()[0].Stats
	if st.Up.Bytes != 100*st.Up.Datagrams || st.Up.Datagrams < 100 || st.Up.Dropped+st.Down.Dropped != 0 {
		t.Errorf("counted %+v", st)
	}
	s.Account()
	used := books.used["n"]
	const headers = 28 // of IP and UDP, on the peer's side
	if want := st.Up.Bytes + st.Down.Bytes + headers*(st.Up.Datagrams+st.Down.Datagrams); used != want {
		t.Errorf("%d bytes are accounted, %d were relayed", used, want)
	}
	must(call.Refresh(within(t), 0))(t)
	s.Account()
	if books.used["n"] != used {
		t.Errorf("%d bytes are accounted, %d after the end", used, books.used["n"])
	}
}

// An allocation that runs out takes its flows along, within a second.
func TestOffloadExpires(t *testing.T) {
	if !alone(t) {
		return
	}
	const session = 8 * time.Second // the first call is trusted before
	s, o := startOffloaded(t, func(c *Config) { c.Settings.MaxSession = session })
	call := newTalk(t, s, o, "n", 12)
	begun := time.Now()
	before := s.Offload().Taken
	eventually(t, "the kernel relays", func() bool { return s.Offload().Taken > before+100 })
	for taken := s.Offload().Taken; ; {
		time.Sleep(50 * time.Millisecond)
		now := s.Offload().Taken
		if now == taken {
			break
		}
		taken = now
		if since := time.Since(begun); since > session+time.Second+patience {
			t.Fatalf("the kernel still relays after %v", since)
		}
	}
	if since := time.Since(begun); since < session-2*time.Second {
		t.Errorf("the kernel stopped after %v", since)
	}
	eventually(t, "no flow is left", func() bool { return s.Offload().Flows == 0 && s.Live() == 0 })
	call.end()
}

// A peer that is denied is refused as ever.
func TestOffloadDeniesPeers(t *testing.T) {
	if !alone(t) {
		return
	}
	s, o := startOffloaded(t, nil)
	c := o.dial(t, s, "udp", "n")
	must(c.Allocate(within(t), nil))(t)
	for _, ip := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "198.18.1.1"} {
		wantCode(t, "ChannelBind "+ip, c.Bind(within(t), 0x4000, netip.AddrPortFrom(netip.MustParseAddr(ip), 9)), 403)
	}
	if n := s.Offload().Flows; n != 0 {
		t.Errorf("%d flows", n)
	}
}

// What the sockets relay since the kernel could not is counted, by why, while it is there.
func TestOffloadSaysWhatIsApart(t *testing.T) {
	if !alone(t) {
		return
	}
	s, o := startOffloaded(t, nil)
	c := o.dial(t, s, "tcp", "n")
	must(c.Allocate(within(t), nil))(t)
	_, peer := o.listen(t, 11)
	if err := c.Bind(within(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	if got := s.Offload().Apart; len(got) != 1 || got["transport"] != 1 {
		t.Errorf("%v, want one channel of a client over TCP", got)
	}
	must(c.Refresh(within(t), 0))(t)
	eventually(t, "there is no channel", func() bool { return len(s.Offload().Apart) == 0 })
}

// With the kernel's part the same random traffic comes out as through pion, datagram by datagram.
func TestOffloadRelaysAsPionDoes(t *testing.T) {
	if !alone(t) {
		return
	}
	srv, o := startOffloaded(t, nil)
	before := srv.Offload()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := newCompared(t, "ours", beyond, o.In)
			s.apart = true
			s.addAll(srv)
			compare(t, seed, s, pionCompared(t), func() {
				time.Sleep(60 * time.Millisecond) // after which the kernel takes a flow
			})
		})
	}
	r := srv.Offload()
	if t.Logf("the kernel took %d, and left %v", r.Taken-before.Taken, r.ByCause()); r.Taken < before.Taken+300 {
		t.Errorf("too little to show anything; before %+v, after %+v", before, r)
	}
}

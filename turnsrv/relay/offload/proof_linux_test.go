//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// swallow drops on its way out of an interface of this namespace, in silence, what the kernel relayed: its TTL, or hop limit, is
// one lower than that of what sockets send.
func swallow(t *testing.T, name string) (stop func()) {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	drop, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(12, asm.Half),
		asm.JEq.Imm(asm.R0, 0x800, "four"),
		asm.JNE.Imm(asm.R0, 0x86dd, "pass"),
		asm.LoadAbs(21, asm.Byte), // the hop limit
		asm.JEq.Imm(asm.R0, 63, "drop"),
		asm.Ja.Label("pass"),
		asm.LoadAbs(22, asm.Byte).WithSymbol("four"), // the TTL
		asm.JEq.Imm(asm.R0, 63, "drop"),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("drop"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: drop, Attach: ebpf.AttachTCXEgress})
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = l.Close(); _ = drop.Close() })
	t.Cleanup(stop)
	return stop
}

// call is a client and a peer that talk until it ends.
type call struct {
	*client
	peer   *endpoint
	heard  atomic.Int64 // when the client had an answer last
	pause  atomic.Int64 // the longest without one
	silent atomic.Bool  // the peer has gone
	end    func()
}

// often is the pause between two datagrams of a call in one direction.
const often = 20 * time.Millisecond

// echo is a call in which the client asks when it has been answered, or has waited for a while.
func (w *world) echo() *call { return w.call(false) }

// media is a call in which both send whatever they hear, and the answers are those to checks as ICE has them.
func (w *world) media() *call { return w.call(true) }

func (w *world) call(media bool) *call {
	w.Helper()
	c := &call{client: w.client(), peer: w.far()}
	c.bind(0x4000, c.peer.addr, relay.ScopeAny)
	up, down := c.up(0x4000, c.peer), c.down(0x4000, c.peer)
	send := func(v way, data []byte) {
		if v.from != c.peer || !c.silent.Load() {
			_, _ = v.from.WriteToUDPAddrPort(v.send(data), v.dst)
		}
	}
	_ = c.SetReadDeadline(time.Time{})
	c.heard.Store(time.Now().UnixNano())
	var running sync.WaitGroup
	stop, answered := make(chan struct{}), make(chan struct{}, 1)
	running.Go(func() {
		tick := time.NewTicker(often)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if !media {
				select {
				case <-stop:
					return
				case <-answered:
				case <-time.After(20 * often):
				}
			}
			data := bytes.Repeat([]byte{0x80}, 100)
			if n%10 == 0 && media {
				data = binding(0x0001)
			}
			send(up, data)
			if media {
				send(down, data)
			}
		}
	})
	receive := func(v, back way) {
		running.Go(func() {
			for b := make([]byte, 2000); ; {
				n, _, err := v.to.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				data := b[len(v.receive(nil)):n]
				answer := len(data) == 80 && data[0] == 1
				switch {
				case media && len(data) == 80 && !answer:
					send(back, binding(0x0101))
				case !media && v.to == c.peer:
					send(back, data)
				}
				if v.to == c.endpoint && (answer || !media) {
					select {
					case answered <- struct{}{}:
					default:
					}
					at := time.Now().UnixNano()
					c.pause.Store(max(c.pause.Load(), at-c.heard.Swap(at)))
				}
			}
		})
	}
	receive(up, down)
	receive(down, up)
	c.end = sync.OnceFunc(func() {
		close(stop)
		_ = c.peer.SetReadDeadline(time.Unix(1, 0))
		_ = c.endpoint.SetReadDeadline(time.Unix(1, 0))
		running.Wait()
		c.r.Close()
	})
	w.Cleanup(c.end)
	return c
}

// binding is a STUN message of a type, of a usual length.
func binding(kind uint16) []byte {
	b := make([]byte, 80)
	binary.BigEndian.PutUint16(b, kind)
	binary.BigEndian.PutUint16(b[2:], 60)
	binary.BigEndian.PutUint32(b[4:], 0x2112A442)
	return b
}

// is reports whether a way from one interface to another has a state.
func (w *world) is(in, out, state string) bool {
	for _, p := range w.kernel.Report().Proofs {
		if p.In == fmt.Sprint(in, w.family) && p.Out == fmt.Sprint(out, w.family) && p.State == state {
			return true
		}
	}
	return false
}

// becomes waits until a way has come to a state.
func (w *world) becomes(in, out, state string) {
	w.Helper()
	for end := time.Now().Add(30 * time.Second); !w.is(in, out, state); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%s to %s is not %s: %+v\n%s", in, out, state, w.kernel.Report(), w.log.String())
		}
	}
}

// trusted waits until both ways between clients and peers are trusted.
func (w *world) trusted() {
	w.Helper()
	w.becomes("c", "p", "trusted")
	w.becomes("p", "c", "trusted")
}

// taken is how many datagrams of a relay's clients and peers the kernel has relayed.
func (w *world) taken() uint64 { return w.kernel.Report().Taken }

// Flows that go on make their way a trusted one. Before, nothing that has no answers is moved; afterwards all is.
func TestTrusted(t *testing.T) {
	if !alone(t, true) {
		return
	}
	for family, begin := range map[int]func(*world) *call{4: (*world).echo, 6: (*world).media} {
		t.Run(fmt.Sprint("IPv", family), func(t *testing.T) {
			w := newProvingWorld(t, family, TCX)
			c, p := w.client(), w.peer.endpoint(address(family, 20+family, 1))
			c.bind(0x4000, p.addr, relay.ScopeAny)
			one := c.up(0x4000, p)
			for range 100 {
				one.pass(make([]byte, 100))
				time.Sleep(time.Millisecond)
			}
			if r := w.kernel.Report(); r.Taken != 0 || r.Left[Proving] < 90 {
				t.Errorf("a flow in one direction: %+v", r)
			}
			talk := begin(w)
			w.trusted()
			w.moved(one)
			talk.end()
			if pause := time.Duration(talk.pause.Load()); pause > 2*time.Second {
				t.Errorf("no answers for %v", pause)
			}
			if w.said("the calls that tried it went on") != 2 {
				t.Errorf("said %s", w.log.String())
			}
		})
	}
}

// A way whose frames vanish in silence is given up within two seconds of the move, and the call goes on over the sockets.
func TestCondemned(t *testing.T) {
	if !alone(t, true) {
		return
	}
	for _, c := range []struct {
		name, lost, in, out string
		family              int
		begin               func(*world) *call
	}{
		{"toward clients, echo", "c", "p", "c", 4, (*world).echo},
		{"toward peers, echo", "p", "c", "p", 6, (*world).echo},
		{"toward clients, media", "c", "p", "c", 6, (*world).media},
		{"toward peers, media", "p", "c", "p", 4, (*world).media},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newProvingWorld(t, c.family, TCX)
			swallow(t, fmt.Sprint(c.lost, c.family))
			talk := c.begin(w)
			w.becomes(c.in, c.out, "condemned")
			at := time.Now().UnixNano()
			await(t, "answers", func() bool { return talk.heard.Load() > at })
			pause := time.Duration(talk.pause.Load())
			if t.Logf("no answers for %v", pause); pause > 3*time.Second {
				t.Errorf("no answers for %v", pause)
			}
			talk.end()
			r := w.kernel.Report()
			if !failed(r, fmt.Sprint(c.in, c.family), TCX) || w.said("the sockets relay it again") != 1 {
				t.Errorf("%+v, and said %s", r, w.log.String())
			}
		})
	}
}

// failed reports whether a way is passed over on an interface.
func failed(r Report, name string, w Way) bool {
	return slices.ContainsFunc(r.Interfaces, func(i Interface) bool { return i.Name == name && i.Failed[w] != "" })
}

// A peer that goes just as its flow moves says nothing of the way.
func TestPeerThatGoes(t *testing.T) {
	if !alone(t, true) {
		return
	}
	w := newProvingWorld(t, 4, TCX)
	talk := w.echo()
	await(t, "the flow has moved", func() bool { return w.taken() > 0 })
	talk.silent.Store(true)
	await(t, "the silence is noticed", func() bool { return w.is("c", "p", "doubted") || w.is("p", "c", "doubted") })
	other := w.echo()
	w.trusted()
	talk.end()
	other.end()
	if w.said("level=WARN") != 0 {
		t.Errorf("said %s", w.log.String())
	}
}

// A trusted way that begins to lose frames is noticed by the flows that move to it. The older ones come back with them.
func TestTrustIsLost(t *testing.T) {
	if !alone(t, true) {
		return
	}
	w := newProvingWorld(t, 4, TCX)
	old := w.echo()
	w.trusted()
	swallow(t, "p4")
	var calls []*call
	for range strikes {
		calls = append(calls, w.echo())
	}
	w.becomes("c", "p", "condemned")
	at := time.Now().UnixNano()
	for _, c := range append(calls, old) {
		await(t, "answers", func() bool { return c.heard.Load() > at })
	}
	if w.said("prove itself anew") != 1 {
		t.Errorf("said %s", w.log.String())
	}
	// A new channel has nothing there any more but the direction that is trusted.
	flows := w.kernel.Report().Flows
	c := w.client()
	c.bind(0x4000, old.peer.addr, relay.ScopeAny)
	if n := w.kernel.Report().Flows; n != flows+1 {
		t.Errorf("%d flows more, want 1", n-flows)
	}
	// Another try comes with a change of the interface.
	netspace.Run(t, "ip address add 198.18.14.99/24 dev c4")
	await(t, "it is forgotten", func() bool { return !w.is("c", "p", "condemned") })
	c.bind(0x4000, old.peer.addr, relay.ScopeAny)
	if n := w.kernel.Report().Flows; n != flows+2 {
		t.Errorf("%d flows more, want 2", n-flows)
	}
}

// A flow that moved long ago without having been watched is looked at in no hurry, until its way has to prove itself anew.
func TestSteadyFlowsTryAgain(t *testing.T) {
	if !alone(t, true) {
		return
	}
	w := newProvingWorld(t, 4, TCX)
	talk := w.echo()
	w.trusted()
	listed := func(look, steady int) func() bool {
		return func() bool {
			w.kernel.mu.Lock()
			defer w.kernel.mu.Unlock()
			return len(w.kernel.look.flows) == look && len(w.kernel.steady.flows) == steady
		}
	}
	await(t, "both were watched", listed(0, 0))
	func() {
		w.kernel.mu.Lock()
		defer w.kernel.mu.Unlock()
		for _, f := range w.kernel.flows {
			if f != nil {
				f.watched = false
				w.kernel.attend(f)
			}
		}
	}()
	await(t, "they are steady", listed(0, 2))
	netspace.Run(t, "ip link set c4 multicast off")
	await(t, "the trust is forgotten", func() bool { return !w.is("c", "p", "trusted") })
	w.trusted()
	await(t, "both were watched again", listed(0, 0))
	talk.end()
}

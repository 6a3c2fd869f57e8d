//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// sole is the report of the only interface with flows.
func (w *world) sole() Interface {
	w.Helper()
	r := w.kernel.Report()
	if len(r.Interfaces) != 1 {
		w.Fatalf("%+v: want one interface", r)
	}
	return r.Interfaces[0]
}

// each tries both families with each of the ways.
func each(t *testing.T, ways []Way, f func(t *testing.T, w *world), change ...func(*world) func(*relay.Config)) {
	if !alone(t) {
		return
	}
	for _, family := range []int{4, 6} {
		for _, v := range ways {
			t.Run(fmt.Sprintf("IPv%d %s", family, v), func(t *testing.T) { f(t, newWorld(t, family, v, change...)) })
		}
	}
}

// giveUp is as if a way had been condemned.
func (w *world) giveUp(index int, v Way) {
	w.kernel.mu.Lock()
	defer w.kernel.mu.Unlock()
	w.kernel.giveUp(index, v, failure{error: errors.New("a test")})
}

// A way that is given up is followed by the next one, and the calls live on. XDP is not taken where another program of its kind
// is, nor on a veth whose other end loses what XDP sends there.
func TestWaysInOrder(t *testing.T) {
	each(t, []Way{auto}, func(t *testing.T, w *world) {
		name := fmt.Sprintf("c%d", w.family)
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		up := c.up(0x4000, p)
		w.moved(up)
		w.moved(c.down(0x4000, p))
		if at := w.sole(); fmt.Sprint(at.Ways) != "[tcx across veth]" || len(at.Failed) != 0 {
			t.Errorf("got %+v, want tcx across veth", at)
		}
		for _, step := range []struct {
			from Way
			to   string
		}{{Across, "[tcx]"}, {TCX, "[xdp native]"}} {
			w.giveUp(i.Index, step.from)
			up.pass([]byte("right after"))
			w.moved(up)
			w.moved(c.down(0x4000, p))
			if at := w.sole(); fmt.Sprint(at.Ways) != step.to || at.Failed[step.from] != "a test" {
				t.Errorf("got %+v, want %s", at, step.to)
			}
		}
		w.giveUp(i.Index, Native)
		up.pass([]byte("right after"))
		if at := w.sole(); len(at.Ways) != 0 || w.entries() != 0 {
			t.Errorf("got %+v and %d entries, want the sockets", at, w.entries())
		}
		for want, spoil := range map[string]func() (mend func()){
			"the other end loses": func() func() {
				w.clients.Run("ethtool -K " + name + "x gro off")
				return func() { w.clients.Run("ethtool -K " + name + "x gro on") }
			},
			"another XDP program": func() func() { return xdpProgram(t, i.Index) },
			"VLANs": func() func() {
				if exec.Command("ip", "link", "add", "link", name, "name", "tagged", "type", "vlan", "id", "5").Run() != nil {
					return nil // a kernel without them
				}
				return func() { netspace.Run(t, "ip link delete tagged") }
			},
		} {
			mend := spoil()
			if mend == nil {
				t.Logf("not tried: %s", want)
				continue
			}
			w.kernel.mu.Lock()
			w.kernel.forget(i.Index)
			w.kernel.mu.Unlock()
			if _, err := w.kernel.refresh(); err != nil {
				t.Fatal(err)
			}
			c.bind(0x4000, p.addr, relay.ScopeAny)
			w.moved(up)
			w.giveUp(i.Index, TCX) // not in use: nothing happens
			w.moved(up)
			w.giveUp(i.Index, Across)
			w.moved(up)
			w.giveUp(i.Index, TCX)
			up.pass([]byte("by the sockets"))
			if at := w.sole(); len(at.Ways) != 0 || !strings.Contains(at.Failed[Native], want) {
				t.Errorf("got %+v, want the sockets: %s", at, want)
			}
			mend()
		}
	})
}

// xdpProgram has a program of somebody else's on an interface. It is still there when it is taken off in the end.
func xdpProgram(t *testing.T, index int) (takeOff func()) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: link.XDPDriverMode})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if info, err := l.Info(); err != nil || info.XDP().Ifindex != uint32(index) {
			t.Errorf("the other program is gone: %+v, %v", info, err)
		}
		if err := errors.Join(l.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	}
}

// A neighbour whose station changes is found again, whether it tells (gratuitous ARP, an unsolicited advertisement) or not.
func TestNeighbourMoves(t *testing.T) {
	each(t, []Way{Across, Native}, func(t *testing.T, w *world) {
		here, there := fmt.Sprintf("c%d", w.family), fmt.Sprintf("c%dx", w.family)
		set := func(key, value string) {
			t.Helper()
			if err := os.WriteFile(fmt.Sprintf("/proc/sys/net/ipv%d/%s", w.family, key), []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		v := c.up(0x4000, p)
		w.moved(v)
		w.moved(c.down(0x4000, p))
		tell := map[int]string{4: "arp_notify", 6: "ndisc_notify"}[w.family]
		w.clients.In(func() { set("conf/"+there+"/"+tell, "1") })
		again := func(what string) {
			t.Helper()
			data := []byte("is anybody there?")
			await(t, what, func() bool {
				v.from.to(v.dst, v.send(data))
				b, _ := v.to.next(quick)
				return b != nil
			})
			v.to.drain(quick)
			w.moved(v)
		}
		w.clients.Run("ip link set " + there + " address 02:00:00:00:00:01")
		again("news of the other station")

		w.clients.In(func() { set("conf/"+there+"/"+tell, "0") })
		set("neigh/"+here+"/base_reachable_time_ms", "300")
		set("neigh/"+here+"/delay_first_probe_time", "1")
		set("neigh/"+here+"/retrans_time_ms", "100")
		w.clients.Run("ip link set " + there + " address 02:00:00:00:00:02")
		i, err := net.InterfaceByName(here)
		if err != nil {
			t.Fatal(err)
		}
		// Nor does it ask, which tells too.
		w.clients.Run(fmt.Sprintf("ip neighbour replace %s lladdr %s dev %s nud permanent", w.server.Addr(), i.HardwareAddr, there))
		again("another station that does not tell")
		neighbours := func() int {
			w.kernel.mu.Lock()
			defer w.kernel.mu.Unlock()
			return len(w.kernel.near)
		}
		if n, want := neighbours(), map[Way]int{Across: 2, Native: 1}[w.way]; n != want { // the peer has a network of its own
			t.Errorf("%d neighbours, want %d", n, want)
		}
		c.r.Close()
		if n := neighbours(); n != 0 {
			t.Errorf("%d neighbours are left", n)
		}
	})
}

// A way that loses frames in silence is followed by the next, until there is one that works; in the end those are the sockets.
func TestEndsInAWayThatWorks(t *testing.T) {
	if !alone(t, true) {
		return
	}
	for name, c := range map[string]struct {
		family int
		way    Way
		spoil  func(w *world, name string)
		want   map[Way]string // states
	}{
		"tcx loses, XDP does not":              {4, auto, func(w *world, name string) { swallow(t, name) }, map[Way]string{TCX: "condemned", Native: "trusted"}},
		"an XDP program is skipped":            {4, auto, signs, map[Way]string{Across: "condemned", TCX: "trusted"}},
		"XDP alone":                            {6, Native, func(*world, string) {}, map[Way]string{Native: "trusted"}},
		"the other end of the veth has no GRO": {4, Native, func(w *world, name string) { w.clients.Run("ethtool -K " + name + "x gro off") }, map[Way]string{Native: "condemned"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newProvingWorld(t, c.family, c.way)
			c.spoil(w, fmt.Sprint("c", w.family))
			talk := w.echo()
			for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				states := map[string]string{}
				for _, p := range w.kernel.Report().Proofs {
					states[p.Mode] = p.State
				}
				reached := true
				for v, s := range c.want {
					reached = reached && states[v.String()] == s
				}
				if reached {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("got %v, want %v: %s", states, c.want, w.log.String())
				}
			}
			at := time.Now().UnixNano()
			await(t, "answers", func() bool { return talk.heard.Load() > at })
			talk.end()
			if pause := time.Duration(talk.pause.Load()); pause > 3*time.Second {
				t.Errorf("no answers for %v", pause)
			}
		})
	}
}

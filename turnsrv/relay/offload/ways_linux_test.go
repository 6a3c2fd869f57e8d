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

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

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

func each(t *testing.T, v Way, f func(t *testing.T, w *world)) {
	if !alone(t) {
		return
	}
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) { f(t, newWorld(t, family, v)) })
	}
}

// On a veth whose other end loses what XDP sends there, and where another XDP program is, flows go by tcx; where neither is so,
// by XDP. A way that is given up is followed by the next one, and the calls live on.
func TestWaysInOrder(t *testing.T) {
	each(t, auto, func(t *testing.T, w *world) {
		name := fmt.Sprintf("c%d", w.family)
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		start := func() way {
			t.Helper()
			c, p := w.client(), w.far()
			c.bind(0x4000, p.addr, relay.ScopeAny)
			w.moved(c.up(0x4000, p))
			w.moved(c.down(0x4000, p))
			return c.up(0x4000, p)
		}
		v := start()
		if at := w.sole(); fmt.Sprint(at.Ways) != "[xdp native]" || len(at.Failed) != 0 {
			t.Errorf("got %+v, want native XDP", at)
		}
		w.kernel.mu.Lock()
		w.kernel.giveUp(i.Index, Native, failure{error: errors.New("a test")})
		w.kernel.mu.Unlock()
		v.pass([]byte("right after"))
		w.moved(v)
		if at := w.sole(); fmt.Sprint(at.Ways) != "[tcx]" || at.Failed[Native] != "a test" {
			t.Errorf("got %+v, want tcx", at)
		}
		afresh := func() { // as if the interface had come anew
			w.kernel.mu.Lock()
			defer w.kernel.mu.Unlock()
			if err := w.kernel.ports[i.Index].close(); err != nil {
				t.Error(err)
			}
			delete(w.kernel.ports, i.Index)
		}
		afresh()
		w.clients.run("ethtool -K " + name + "x gro off")
		start()
		if at := w.sole(); fmt.Sprint(at.Ways) != "[tcx]" || !strings.Contains(at.Failed[Native], "the other end loses") {
			t.Errorf("got %+v, want tcx where frames get lost", at)
		}
		afresh()
		other := xdpProgram(t, i.Index)
		start()
		if at := w.sole(); fmt.Sprint(at.Ways) != "[tcx]" || !strings.Contains(at.Failed[Native], "another XDP program") {
			t.Errorf("got %+v, want tcx where there is another program", at)
		}
		if info, err := other.Info(); err != nil || info.XDP().Ifindex != uint32(i.Index) {
			t.Errorf("the other program is gone: %+v, %v", info, err)
		}
	})
}

// XDP does not see the tag that an interface has taken off, so VLANs keep it away.
func TestVLANs(t *testing.T) {
	each(t, auto, func(t *testing.T, w *world) {
		name := fmt.Sprintf("c%d", w.family)
		if out, err := exec.Command("ip", "link", "add", "link", name, "name", "tagged", "type", "vlan", "id", "5").CombinedOutput(); err != nil {
			t.Skipf("needs a kernel with VLANs: %s", out)
		}
		defer run(t, "ip link delete tagged")
		if err := w.kernel.refresh(); err != nil {
			t.Fatal(err)
		}
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		w.moved(c.up(0x4000, p))
		if at := w.sole(); fmt.Sprint(at.Ways) != "[tcx]" || !strings.Contains(at.Failed[Native], "VLANs") {
			t.Errorf("got %+v, want tcx where there are VLANs", at)
		}
	})
}

// xdpProgram has a program of somebody else's on an interface.
func xdpProgram(t *testing.T, index int) link.Link {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: link.XDPDriverMode})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// A neighbour whose station changes is found again, whether it tells (gratuitous ARP, an unsolicited advertisement) or not.
func TestNeighbourMoves(t *testing.T) {
	each(t, Native, func(t *testing.T, w *world) {
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
		w.clients.in(func() { set("conf/"+there+"/"+tell, "1") })
		again := func(what string) {
			t.Helper()
			data := []byte("is anybody there?")
			await(t, what, func() bool {
				v.from.to(v.dst, v.send(data))
				b, _ := v.to.next(quick)
				return b != nil
			})
			for b, _ := v.to.next(quick); b != nil; b, _ = v.to.next(quick) {
				// of those just sent
			}
			w.moved(v)
		}
		w.clients.run("ip link set " + there + " address 02:00:00:00:00:01")
		again("news of the other station")

		w.clients.in(func() { set("conf/"+there+"/"+tell, "0") })
		set("neigh/"+here+"/base_reachable_time_ms", "300")
		set("neigh/"+here+"/delay_first_probe_time", "1")
		set("neigh/"+here+"/retrans_time_ms", "100")
		w.clients.run("ip link set " + there + " address 02:00:00:00:00:02")
		i, err := net.InterfaceByName(here)
		if err != nil {
			t.Fatal(err)
		}
		// Nor does it ask, which tells too.
		w.clients.run(fmt.Sprintf("ip neighbour replace %s lladdr %s dev %s nud permanent", w.server.Addr(), i.HardwareAddr, there))
		again("another station that does not tell")
		neighbours := func() int {
			w.kernel.mu.Lock()
			defer w.kernel.mu.Unlock()
			return len(w.kernel.near)
		}
		if n := neighbours(); n != 1 {
			t.Errorf("%d neighbours, want 1", n)
		}
		c.r.Close()
		if n := neighbours(); n != 0 {
			t.Errorf("%d neighbours are left", n)
		}
	})
}

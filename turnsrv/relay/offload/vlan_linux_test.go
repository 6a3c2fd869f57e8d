//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// tags has what leaves by an interface of the space tagged with a VLAN (IEEE 802.1Q), until it is told to stop. It needs no
// VLANs in the kernel.
func (s *space) tags(t *testing.T, name string, vlan int32) (stop func()) {
	t.Helper()
	push, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, 0x0081), // 0x8100, big endian
		asm.Mov.Imm(asm.R3, vlan),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R0, -1),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var l link.Link
	s.In(func() {
		var i *net.Interface
		if i, err = net.InterfaceByName(name); err == nil {
			l, err = link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: push, Attach: ebpf.AttachTCXEgress})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = l.Close(); _ = push.Close() }
}

// What comes in tagged on an interface is not of the network that flows are on there, even if its addresses are theirs: the
// kernel relays none of it. Of a VLAN that there is not here, nothing gets to the sockets either; a tag that names none (VLAN 0,
// of a priority alone) is no obstacle to them. XDP is not tried: it sees no tag that an interface has taken off, which is why it
// stays off interfaces that are known to have VLANs.
func TestTaggedIsLeftAlone(t *testing.T) {
	each(t, []Way{TCX}, func(t *testing.T, w *world) {
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		for _, d := range []struct {
			v    way
			s    *space
			name string
		}{
			{c.up(0x4000, p), w.clients, fmt.Sprintf("c%dx", w.family)},
			{c.down(0x4000, p), w.peer, fmt.Sprintf("p%dx", w.family)},
		} {
			for _, vlan := range []int32{5, 0} {
				w.moved(d.v)
				before := w.kernel.Report()
				stop := d.s.tags(t, d.name, vlan)
				const many = 50
				for range many {
					data := random(100)
					if d.v.from.to(d.v.dst, d.v.send(data)); vlan == 0 {
						d.v.to.expect(d.v.src, d.v.receive(data))
					}
				}
				if b, _ := d.v.to.next(quick); b != nil {
					t.Errorf("%.40x came from VLAN %d", b, vlan)
				}
				if r := w.kernel.Report(); r.Taken != before.Taken || r.Left != before.Left {
					t.Errorf("VLAN %d: before %+v, after %+v", vlan, before, r)
				}
				stop()
			}
			w.moved(d.v)
		}
	})
}

// lane is a VLAN of the cable between this namespace and another, 0 for what is untagged. In each, hosts have a namespace of their
// own: what leaves by the wrong one gets nowhere.
type lane struct {
	vlan int
	*space
}

// cable lays the lanes, with the addresses of [joined] and the VLAN's number in them, and returns how the interfaces here are called.
func cable(t *testing.T, lanes ...lane) map[int]string {
	t.Helper()
	trunk := lanes[0].space
	joined(t, "c0", 30, trunk)
	names := map[int]string{0: "c0"}
	for _, l := range lanes[1:] {
		mine, there := fmt.Sprint("c0.", l.vlan), fmt.Sprint("c0x.", l.vlan)
		netspace.Run(t, fmt.Sprintf("ip link add link c0 name %s type vlan id %d", mine, l.vlan))
		trunk.Run(fmt.Sprintf("ip link add link c0x name %s type vlan id %d", there, l.vlan))
		trunk.Run(fmt.Sprintf("ip link set %s netns %d", there, l.Tid))
		for _, end := range []struct {
			run  func(string)
			name string
			host int
		}{{here(t), mine, 2}, {l.Run, there, 1}} {
			end.run(fmt.Sprintf("ip address add %s/24 dev %s", address(4, 30+l.vlan, end.host), end.name))
			end.run(fmt.Sprintf("ip address add %s/64 dev %s nodad", address(6, 30+l.vlan, end.host), end.name))
			end.run("ip link set " + end.name + " up")
		}
		names[l.vlan] = mine
	}
	return names
}

// Flows in VLANs are relayed as all are: what comes in tagged is taken at the VLAN's own interface, where it has no tag any more, and
// what leaves by such an interface is tagged there. Between VLANs, and between one and what is untagged on the same cable, every
// datagram arrives where it belongs, whether tags are in the frames or beside them, and the kernel relays it.
func TestVLANs(t *testing.T) {
	if !alone(t) {
		return
	}
	netspace.Run(t, "ip link add v0 type veth peer name v1")
	err := exec.Command("ip", "link", "add", "link", "v0", "name", "v5", "type", "vlan", "id", "5").Run()
	netspace.Run(t, "ip link delete v0")
	if err != nil {
		t.Skip("needs a kernel with VLANs (CONFIG_VLAN_8021Q)")
	}
	for _, family := range []int{4, 6} {
		for _, v := range [][2]int{{0, 5}, {5, 0}, {5, 6}, {5, 5}} {
			for _, beside := range []string{"on", "off"} {
				t.Run(fmt.Sprintf("IPv%d from %d to %d offload %s", family, v[0], v[1], beside), func(t *testing.T) {
					testVLANs(t, family, v[0], v[1], beside)
				})
			}
		}
	}
}

func testVLANs(t *testing.T, family, clients, peers int, beside string) {
	w := newBareWorld(t, family)
	spaces := map[int]*space{0: newSpace(t), 5: newSpace(t), 6: newSpace(t)}
	names := cable(t, lane{0, spaces[0]}, lane{5, spaces[5]}, lane{6, spaces[6]})
	here(t)("ethtool -K c0 txvlan " + beside)
	spaces[0].Run("ethtool -K c0x txvlan " + beside)
	w.clients, w.peer = spaces[clients], spaces[peers]
	w.clientAt, w.peerAt = address(family, 30+clients, 1), address(family, 30+peers, 1)
	w.start(t, netip.AddrPortFrom(address(family, 30+clients, 2), 0), relay.Family{Bind: address(family, 30+peers, 2)})
	w.trust()
	c, p := w.client(), w.far()
	c.bind(0x4000, p.addr, relay.ScopeAny)
	for _, v := range []way{c.up(0x4000, p), c.down(0x4000, p)} {
		w.moved(v)
		before := w.taken()
		sizes := []int{60, 64, 100, 513, 1000, 1200}
		for _, size := range sizes {
			v.pass(random(size))
		}
		if n := w.taken() - before; n != uint64(len(sizes)) {
			t.Errorf("the kernel took %d of %d: %+v", n, len(sizes), w.kernel.Report())
		}
		for _, size := range []int{0, 1, 3, 4, 7, 1440} { // some of which are the sockets'
			v.pass(random(size))
		}
	}
	r, want := w.kernel.Report(), []string{names[clients], names[peers]}
	slices.Sort(want)
	var at []string
	for _, i := range r.Interfaces {
		if at = append(at, i.Name); fmt.Sprint(i.Ways) != "[tcx]" || len(i.Failed) != 0 {
			t.Errorf("%+v, want tcx", i)
		}
	}
	if !slices.Equal(at, slices.Compact(want)) {
		t.Errorf("relays at %v, want %v", at, want)
	}
	if s := c.r.Stats(); s.Up.Dropped+s.Down.Dropped != 0 {
		t.Errorf("counted %+v", s)
	}
}

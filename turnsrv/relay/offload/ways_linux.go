//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// port is an interface on which flows come in.
type port struct {
	links  [numWays]link.Link // by the way whose program it is
	open   [numWays]bool      // flows go this way
	failed [numWays]failure
}

// program is the way whose program takes this one's flows.
func (w Way) program() Way {
	if w == Across {
		return TCX
	}
	return w
}

// failure is why a way is passed over on an interface. errStranger is none.
type failure struct {
	error
	until uint64 // of the monotonic clock; 0: until the interface changes
}

// spent reports whether a way that was passed over may be looked at again, since addresses have changed or its time is up.
func (p *port) spent(addrs bool) bool {
	return p != nil && slices.ContainsFunc(p.failed[:], func(f failure) bool {
		return f.error != nil && (addrs || f.until != 0 && f.until < now())
	})
}

var (
	errStranger = errors.New("the driver is not known to lose nothing when a program comes or goes")
	errVanish   = errors.New("the other end loses what XDP sends there (it needs GRO, ethtool -K INTERFACE gro on, or a program of its own)")
	errVLANs    = errors.New("there are VLANs on it, which XDP cannot tell from the rest")
)

func (p *port) close() error {
	var errs []error
	for w, l := range p.links {
		if l != nil {
			errs = append(errs, l.Close())
			p.links[w] = nil
		}
	}
	p.open = [numWays]bool{}
	return errors.Join(errs...)
}

// shut takes a way out of use, and its program off unless there is another one that needs it.
func (p *port) shut(w Way) {
	p.open[w] = false
	for o := range numWays {
		if p.open[o] && o.program() == w.program() {
			return
		}
	}
	_ = p.links[w.program()].Close()
	p.links[w.program()] = nil
}

func (p *port) report(name string) Interface {
	out := Interface{Name: name, Failed: map[Way]string{}}
	for w := range numWays {
		if p.open[w] {
			out.Ways = append(out.Ways, w)
		}
		if err := p.failed[w].error; err != nil && !errors.Is(err, errStranger) {
			out.Failed[w] = err.Error()
		}
	}
	return out
}

// try finds out whether a program can be attached, on the first interface that there is, and takes it off again.
func (k *Kernel) try() error {
	for _, i := range k.net.byIndex {
		if ethernet(i) && i.Flags&net.FlagUp != 0 && slices.ContainsFunc(k.ways, func(w Way) bool { return w.program() == TCX }) {
			l, err := k.attachTCX(i.Index)
			if err != nil {
				return err
			}
			return l.Close()
		}
	}
	return nil
}

// choose sets how a flow is taken that leaves by r. The error says why it cannot be.
func (k *Kernel) choose(slot int, f *flow, r route, v *programFlow) (err error) {
	in, err := k.net.byAddr[f.in.To.Addr()], errNoRoute
	approached := false
	for _, w := range k.ways {
		if w == Across && !k.crosses(r.index) || w.program() != TCX && in != r.index {
			continue
		}
		if fail := k.attach(in, w); fail != nil {
			err = fail
			continue
		}
		if v.Way = uint32(w); w == TCX {
			err = nil
			break
		}
		n := k.approach(slot, f, hop{r.index, r.hop})
		if approached = true; n.known() {
			v.There, v.Here = station(n.mac[:]), station(k.net.byIndex[r.index].HardwareAddr)
			return nil
		}
	}
	if !approached {
		k.depart(slot, f)
	}
	return err
}

// station is a MAC address as it is in the program's memory.
func station(mac []byte) (s [3]uint16) {
	for i := range s {
		s[i] = binary.NativeEndian.Uint16(mac[2*i:])
	}
	return s
}

// attach attaches a program to an interface, unless it is there or could not be.
func (k *Kernel) attach(index int, w Way) error {
	i, ok := k.net.byIndex[index]
	if !ok || !ethernet(i) {
		return errNoRoute
	}
	p := k.ports[index]
	if p == nil {
		p = &port{}
		k.ports[index] = p
	}
	if p.open[w] || p.failed[w].error != nil {
		return p.failed[w].error
	}
	l, err := p.links[w.program()], error(nil)
	switch {
	case l != nil:
	case w.program() == TCX:
		l, err = k.attachTCX(index)
	default:
		l, err = k.attachXDP(i, w)
	}
	if errors.Is(err, errNoRoute) {
		return err // for now
	}
	if err != nil {
		p.failed[w] = failure{error: err}
		if !errors.Is(err, errStranger) {
			k.log.Warn("the kernel does not relay in this mode on this interface; it does in another, or the sockets relay",
				"interface", i.Name, "mode", w.String(), "error", err)
		}
		return err
	}
	p.links[w.program()], p.open[w] = l, true
	k.log.Info("a program is attached to this interface: the kernel relays once a few calls have shown that nothing is lost", "interface", i.Name, "mode", w.String())
	return nil
}

// attachTCX attaches the program behind those that are there already. They see what comes in first.
func (k *Kernel) attachTCX(index int) (link.Link, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: k.objects.Turn, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
	if err != nil {
		return nil, fmt.Errorf("attach the program: %w", err)
	}
	return l, nil
}

// attachXDP attaches the program where there is no other one, and on drivers that lose nothing by it.
func (k *Kernel) attachXDP(i net.Interface, w Way) (link.Link, error) {
	if i.Flags&net.FlagRunning == 0 {
		return nil, errNoRoute // nothing could be tried out
	}
	flags := link.XDPDriverMode
	if w == Generic {
		flags = link.XDPGenericMode
	} else {
		own, err := k.router.link(i.Index)
		if err != nil {
			return nil, err
		}
		if own.kind != "veth" && !k.forced {
			return nil, errStranger
		}
		for _, other := range k.net.byIndex {
			if v, err := k.router.link(other.Index); err == nil && v.kind == "vlan" && v.below == i.Index {
				return nil, errVLANs
			}
		}
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: k.objects.TurnXdp, Interface: i.Index, Flags: flags})
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("another XDP program is there: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("attach the program: %w", err)
	}
	if w == Native && !k.forced {
		if err := k.vanish(i); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// vanish reports whether what XDP sends from an interface gets lost, as at the end of a veth pair whose other end is not
// prepared. The frames with which it finds out are addressed to the interface itself: no switch sends them on.
func (k *Kernel) vanish(i net.Interface) error {
	const frames = 8
	send, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 3), asm.Return()}, // XDP_TX
	})
	if err != nil {
		return err
	}
	defer func() { _ = send.Close() }()
	before, err := k.router.link(i.Index)
	if err != nil {
		return err
	}
	b := make([]byte, 60)
	copy(b, i.HardwareAddr)
	copy(b[6:], i.HardwareAddr)
	b[12], b[13] = 0x88, 0xb5 // for local experiments (IEEE 802)
	ctx := struct{ data, end, meta, ingress, queue, egress uint32 }{end: uint32(len(b)), ingress: uint32(i.Index)}
	if _, err := send.Run(&ebpf.RunOptions{Data: b, Context: ctx, Repeat: frames, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}); err != nil {
		return nil // what cannot be tried out shows when it is used
	}
	after, err := k.router.link(i.Index)
	if err == nil && after.sent-before.sent < frames {
		return errVanish
	}
	return err
}

// giveUp gives up one way of relaying what comes in on an interface: the program is taken off, unless another way needs it, and
// the flows are placed by the next way. It has k.mu.
func (k *Kernel) giveUp(index int, w Way, why failure) {
	p := k.ports[index]
	if p == nil || !p.open[w] {
		return
	}
	p.shut(w)
	p.failed[w] = why
	for slot, f := range k.flows {
		if f != nil && f.proof != nil && f.proof.in == index && f.proof.way == w {
			_ = k.place(slot, f)
		}
	}
}

// linkInfo is what rtnetlink says of an interface.
type linkInfo struct {
	kind  string // veth, vlan; empty for hardware
	below int    // the index of that on which it is, or of its other end
	away  bool   // that is in another network namespace
	queue string // before it; noqueue
	sent  uint64 // frames
}

func (r *router) link(index int) (l linkInfo, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	answer, err := r.ask(unix.RTM_GETLINK, unix.RTM_NEWLINK, 0, b)
	if err != nil || len(answer) < unix.SizeofIfInfomsg {
		return l, errors.Join(errNoRoute, err)
	}
	err = attributes(answer[unix.SizeofIfInfomsg:], func(kind uint16, data []byte) error {
		switch {
		case kind == unix.IFLA_LINK && len(data) == 4:
			l.below = int(binary.NativeEndian.Uint32(data))
		case kind == unix.IFLA_LINK_NETNSID:
			l.away = true
		case kind == unix.IFLA_QDISC:
			l.queue = unix.ByteSliceToString(data)
		case kind == unix.IFLA_STATS64 && len(data) >= 16:
			l.sent = binary.NativeEndian.Uint64(data[8:])
		case kind == unix.IFLA_LINKINFO:
			return attributes(data, func(kind uint16, data []byte) error {
				if kind == unix.IFLA_INFO_KIND {
					l.kind = unix.ByteSliceToString(data)
				}
				return nil
			})
		}
		return nil
	})
	return l, err
}

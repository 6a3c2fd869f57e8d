//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Enter implements [relay.Kernel].
func (k *Kernel) Enter(in, out relay.Leg, life time.Duration) (slot int, ok bool) {
	if !fits(in) || !fits(out) || in.To.Addr().Is4() != out.To.Addr().Is4() {
		return 0, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return 0, false
	}
	if len(k.free) == 0 {
		if !k.full {
			k.full = true
			k.log.Warn("the kernel relays as many flows as it has room for; the others stay on the sockets", "flows", len(k.flows))
		}
		return 0, false
	}
	slot = k.free[len(k.free)-1]
	f := &flow{slot: slot, in: in, out: out, expires: now() + uint64(life), key: keyOf(in)}
	f.pseudo, f.change = sums(in, out)
	// Where every way was given up, a flow would only keep the sockets from getting their datagrams in larger pieces.
	if err := k.place(slot, f); errors.Is(err, ebpf.ErrKeyExist) || k.hopeless(in) {
		k.depart(slot, f)
		f.proof.lose()
		return 0, false
	}
	if len(k.free) == len(k.flows) { // the process goes on with giving signs of life
		k.beat()
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	k.free = k.free[:len(k.free)-1]
	k.flows[slot] = f
	k.join(f)
	k.attend(f)
	return slot, true
}

// hopeless reports whether there is no way any more for what arrives like this.
func (k *Kernel) hopeless(in relay.Leg) bool {
	p := k.ports[k.net.byAddr[in.To.Addr()]]
	return p != nil && !slices.ContainsFunc(k.ways, func(w Way) bool { return p.failed[w].error == nil && (w != Across || p.open[w]) })
}

// join finds the flow that brings the answers to this one.
func (k *Kernel) join(f *flow) {
	if k.byKey[f.key] == nil {
		k.byKey[f.key] = f
	}
	if o := k.byKey[f.opposite()]; o != nil && o != f && o.back == nil && o.opposite() == f.key {
		f.back, o.back = o, f
	}
}

// part undoes join.
func (k *Kernel) part(f *flow) {
	if k.byKey[f.key] == f {
		delete(k.byKey, f.key)
	}
	if f.back != nil {
		f.back.back, f.back = nil, nil
	}
}

// fits reports whether a leg has both addresses, of one family.
func fits(l relay.Leg) bool {
	a, b := l.From.Addr(), l.To.Addr()
	return a.IsValid() && b.IsValid() && a.BitLen() == b.BitLen() && !a.IsUnspecified() && !b.IsUnspecified() && a.Zone() == "" && b.Zone() == "" &&
		!a.Is4In6() && !b.Is4In6() && l.From.Port() != 0 && l.To.Port() != 0
}

// place brings the table into line with how a flow can be relayed now. An error says why it is not in the table.
func (k *Kernel) place(slot int, f *flow) error {
	r, err := k.route(f)
	if err != nil {
		k.unplace(f)
		return err
	}
	f.route = r
	v := programFlow{Expires: f.expires, Interface: uint32(r.index), Mtu: uint16(min(r.mtu, 65535))}
	if err := k.choose(slot, f, r, &v); err != nil {
		k.unplace(f)
		return err
	}
	k.assign(f, k.proven(passage{k.net.byAddr[f.in.To.Addr()], r.index, Way(v.Way)}))
	v.Src.W, v.Dst.W, v.Hop.W = words(f.out.From.Addr()), words(f.out.To.Addr()), words(r.hop)
	v.Sport, v.Dport, v.Channel = big(f.out.From.Port()), big(f.out.To.Port()), big(f.out.Channel)
	v.Pseudo, v.Change = f.pseudo, f.change
	return k.put(slot, f, v)
}

// put makes v what the table says of a flow. If more than its time is new, the flow begins with the sockets again.
func (k *Kernel) put(slot int, f *flow, v programFlow) error {
	if f.placed {
		atomic.StoreUint64(&k.table.records[slot].Flow.Expires, v.Expires)
		if f.value.Expires = v.Expires; v == f.value {
			return nil
		}
	}
	fresh := !f.placed || v.Way != f.value.Way
	k.unplace(f)
	if err := k.table.insert(slot, &f.key, &v, fresh); err != nil {
		return err
	}
	f.value, f.placed, k.stirred = v, true, true
	return nil
}

func (k *Kernel) unplace(f *flow) {
	if f.placed {
		k.table.remove(f.slot)
		f.placed = false
	}
}

// sums are the constant parts of the checksums of a flow (RFC 1071): of the addresses of what arrives, and of how much more the
// addresses, ports and channel of what leaves sum up to than those of what arrives.
func sums(in, out relay.Leg) (pseudo, change uint16) {
	pseudo = onesSum(0, in.From.Addr().AsSlice(), in.To.Addr().AsSlice())
	constant := func(addresses uint16, l relay.Leg) uint16 {
		return onesSum(addresses, words16(big(l.From.Port()), big(l.To.Port()), big(l.Channel)))
	}
	to := constant(onesSum(0, out.From.Addr().AsSlice(), out.To.Addr().AsSlice()), out)
	return pseudo, onesSum(to, words16(^constant(pseudo, in)))
}

// onesSum adds 16-bit words of memory in one's complement.
func onesSum(s uint16, all ...[]byte) uint16 {
	n := uint32(s)
	for _, b := range all {
		for ; len(b) >= 2; b = b[2:] {
			n += uint32(binary.NativeEndian.Uint16(b))
		}
	}
	n = n&0xffff + n>>16
	return uint16(n + n>>16)
}

// words16 are words as they are in memory.
func words16(all ...uint16) (b []byte) {
	for _, w := range all {
		b = binary.NativeEndian.AppendUint16(b, w)
	}
	return b
}

// route is how a flow leaves.
func (k *Kernel) route(f *flow) (route, error) {
	r, err := k.router.find(f.out.From.Addr(), f.out.To.Addr())
	if err != nil {
		return r, err
	}
	i, ok := k.net.byIndex[r.index]
	if !ok || !ethernet(i) {
		return r, errNoRoute
	}
	if r.mtu == 0 || r.mtu > i.MTU {
		r.mtu = i.MTU
	}
	if r.hop.Is6() {
		r.mtu = min(r.mtu, least6)
	}
	return r, nil
}

// Extend implements [relay.Kernel].
func (k *Kernel) Extend(slot int, life time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	f := k.flows[slot]
	f.expires = now() + uint64(life)
	_ = k.place(slot, f)
}

// Leave implements [relay.Kernel].
func (k *Kernel) Leave(slot int) (datagrams, bytes uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return 0, 0
	}
	k.unplace(k.flows[slot])
	k.depart(slot, k.flows[slot])
	k.table.wait()
	datagrams, bytes = k.count(slot)
	k.part(k.flows[slot])
	k.flows[slot].proof.lose()
	k.flows[slot] = nil
	k.free = append(k.free, slot)
	return datagrams, bytes
}

// Count implements [relay.Kernel].
func (k *Kernel) Count(slot int) (datagrams, bytes uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return 0, 0
	}
	return k.count(slot)
}

func (k *Kernel) count(slot int) (datagrams, bytes uint64) {
	s := &k.table.records[slot].State
	return atomic.LoadUint64(&s.Datagrams), atomic.LoadUint64(&s.Bytes)
}

// Settling implements [relay.Kernel].
func (k *Kernel) Settling(slots []int) []int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return slots
	}
	// Where nothing was left to the sockets since there was nothing to settle, all is as it was.
	left := k.left()
	if !k.stirred && left == k.wasLeft {
		return slots
	}
	already := len(slots)
	for slot, f := range k.flows {
		if f == nil || !f.placed || f.held {
			continue
		}
		s := &k.table.records[slot].State
		if atomic.LoadUint32(&s.Taken) == 0 && atomic.LoadUint64(&s.Settled) <= atomic.LoadUint64(&s.Last)+queued {
			slots = append(slots, slot)
		}
	}
	k.stirred, k.wasLeft = len(slots) > already, left
	return slots
}

// left is how many datagrams of flows were left to the sockets.
func (k *Kernel) left() (n uint64) {
	for i := range k.table.cpus {
		for j := range k.table.cpus[i].Causes[1:] {
			n += atomic.LoadUint64(&k.table.cpus[i].Causes[1+j])
		}
	}
	return n
}

// Settled implements [relay.Kernel].
func (k *Kernel) Settled(slot int, at time.Duration, gone func() bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	// What goes across overtakes what waits to be taken in there.
	if f := k.flows[slot]; Way(f.value.Way) != Across || gone() {
		atomic.StoreUint64(&k.table.records[slot].State.Settled, uint64(at))
	}
}

// Now implements [relay.Kernel].
func (*Kernel) Now() time.Duration { return time.Duration(now()) }

func keyOf(l relay.Leg) programKey {
	k := programKey{Sport: big(l.From.Port()), Dport: big(l.To.Port()), Channel: big(l.Channel), Family: unix.AF_INET}
	if l.To.Addr().Is6() {
		k.Family = unix.AF_INET6
	}
	k.Src.W, k.Dst.W = words(l.From.Addr()), words(l.To.Addr())
	return k
}

// words are an address as it is in the program's memory: the bytes in the order of the wire.
func words(a netip.Addr) (w [4]uint32) {
	b := (*[16]byte)(unsafe.Pointer(&w))
	copy(b[:], a.AsSlice())
	return w
}

// big is a number in the order of the wire.
func big(n uint16) uint16 { return n<<8 | n>>8 }

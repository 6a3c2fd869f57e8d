//go:build linux && !portable

package relay

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const (
	slots = 64
	// A slot takes the largest datagram, or the largest run of datagrams that the kernel has put together (UDP_GRO).
	slotSize = 64 << 10
	// Slots do not begin a power of two apart: their first lines would all compete for the same few places in the
	// processor's caches.
	slotStride = slotSize + 1280
	maxBatch   = 32 // datagrams received by one call
)

// rx is where a worker receives into. What is received stays in place until the worker has sent it on.
type rx struct {
	used  int // slots whose contents may still be wanted
	hdrs  [slots]mmsghdr
	iovs  [slots]unix.Iovec
	names [slots]peerAddr
	ctrls [slots]control
	bufs  []byte
}

// newRX maps the slots rather than taking them from Go's heap: most of their pages are never touched, and on the heap
// they would let it grow by as much again in garbage. free unmaps them.
func newRX() (*rx, error) {
	bufs, err := unix.Mmap(-1, 0, slots*slotStride, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	x := &rx{bufs: bufs}
	for i := range x.hdrs {
		x.iovs[i].Base = &x.bufs[i*slotStride]
		x.iovs[i].SetLen(slotSize)
		h := &x.hdrs[i].Msghdr
		h.Name = &x.names[i][0]
		h.Iov = &x.iovs[i]
		h.SetIovlen(1)
		h.Control = &x.ctrls[i][0]
	}
	x.ready()
	return x, nil
}

func (x *rx) free() { _ = unix.Munmap(x.bufs) }

// ready makes every slot ready to be used again.
func (x *rx) ready() {
	x.used = 0
	for i := range x.hdrs {
		x.again(i)
	}
}

// again makes a slot ready to be used again, which leaves its contents as they are.
func (x *rx) again(i int) {
	m := &x.hdrs[i]
	m.Namelen = uint32(len(x.names[i]))
	m.SetControllen(len(x.ctrls[i]))
	m.Flags = 0
}

// room reports whether there are enough free slots for another call.
func (x *rx) room() bool { return slots-x.used >= maxBatch }

// receive receives into free slots, and returns the first of them and how many it has filled. If those are maxBatch,
// more is probably waiting.
func (x *rx) receive(fd int) (first, n int) {
	first = x.used
	n, err := recvmmsg(fd, &x.hdrs[first], maxBatch)
	for tries := 1; tries < icmpTries && ofICMP(err); tries++ {
		n, err = recvmmsg(fd, &x.hdrs[first], maxBatch)
	}
	if err != 0 || n < 0 {
		return first, 0
	}
	x.used += n
	return first, n
}

// datagram returns what slot i holds: datagrams of segment bytes each, but for the last, in a row. It makes the slot
// ready to be used again, which leaves its contents as they are.
func (x *rx) datagram(i int) (data []byte, local netip.Addr, segment int) {
	m := &x.hdrs[i]
	n := int(m.n)
	if int(m.Controllen) > 0 {
		local, segment = x.ctrls[i].read(int(m.Controllen))
	}
	if segment <= 0 {
		segment = max(n, 1)
	}
	truncated := m.Flags&unix.MSG_TRUNC != 0
	x.again(i)
	if truncated {
		return nil, local, 0
	}
	at := i * slotStride
	return x.bufs[at : at+n : at+n], local, segment
}

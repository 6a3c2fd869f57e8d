//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// XDP has no look-up of neighbours that would work where the machine does not forward, and going across has none at all, so their
// stations are in the table. What follows keeps them right: a neighbour that is asked for, found elsewhere or lost is told of by
// the kernel, and its flows are placed anew. As nothing that goes by these ways passes the kernel's own table, nothing there
// notices that a neighbour is gone: [Kernel.ask] makes it look.

// hop is where a datagram goes next.
type hop struct {
	index int
	addr  netip.Addr
}

// neighbour is a hop that flows have, but for those of TCX.
type neighbour struct {
	hop
	state uint16
	mac   [6]byte
	flows map[int]*flow // by slot
}

// valid are the states in which what is known of a neighbour is used.
const valid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

func (n *neighbour) known() bool { return n.state&valid != 0 && n.mac != [6]byte{} }

// approach makes h the neighbour of a flow.
func (k *Kernel) approach(slot int, f *flow, h hop) *neighbour {
	if f.near != nil && f.near.hop == h {
		return f.near
	}
	k.depart(slot, f)
	n := k.near[h]
	if n == nil {
		n = &neighbour{hop: h, flows: make(map[int]*flow)}
		n.state, n.mac, _ = k.router.neighbour(h)
		k.near[h] = n
	}
	n.flows[slot] = f
	f.near = n
	return n
}

// depart forgets a flow's neighbour.
func (k *Kernel) depart(slot int, f *flow) {
	if f.near == nil {
		return
	}
	if delete(f.near.flows, slot); len(f.near.flows) == 0 {
		delete(k.near, f.near.hop)
	}
	f.near = nil
}

// openNews returns a socket that tells of neighbours.
func openNews() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_NEIGH}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// watchNeighbours takes to heart what the kernel tells of neighbours, until ctx ends.
func (k *Kernel) watchNeighbours(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = k.news.SetReadDeadline(time.Unix(1, 0)) })()
	b := make([]byte, 16<<10)
	for ctx.Err() == nil {
		n, err := k.news.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			k.catchUp()
		case err != nil:
			return
		}
		for rest := b[:max(n, 0)]; len(rest) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.SizeofNlMsghdr || size > len(rest) {
				break
			}
			kind, body := binary.NativeEndian.Uint16(rest[4:]), rest[unix.SizeofNlMsghdr:size]
			if h, state, mac, err := parseNeighbour(body); err == nil {
				if kind == unix.RTM_DELNEIGH {
					state = unix.NUD_NONE
				}
				k.changed(h, state, mac)
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

// changed takes to heart what has become of a neighbour.
func (k *Kernel) changed(h hop, state uint16, mac [6]byte) {
	k.mu.Lock()
	n := k.near[h]
	if n == nil || k.closed {
		k.mu.Unlock()
		return
	}
	was, knew := n.mac, n.known()
	n.state, n.mac = state, mac
	var slots []int
	if n.known() != knew || n.mac != was {
		slots = slices.Collect(maps.Keys(n.flows))
	}
	k.mu.Unlock()
	for _, slot := range slots { // others have their turn in between
		k.again(slot, true)
	}
}

// catchUp asks for all neighbours, after some news was lost.
func (k *Kernel) catchUp() {
	k.mu.Lock()
	hops := slices.Collect(maps.Keys(k.near))
	k.mu.Unlock()
	for _, h := range hops {
		if state, mac, err := k.router.neighbour(h); err == nil || errors.Is(err, unix.ENOENT) {
			k.changed(h, state, mac)
		}
	}
}

// ask has the kernel look whether the neighbours that it has not heard of for a while are still there, as it does for those
// that sockets send to. It tells of those that are not.
func (k *Kernel) ask() {
	var hops []hop
	k.mu.Lock()
	for h, n := range k.near {
		if n.state&unix.NUD_STALE != 0 {
			hops = append(hops, h)
		}
	}
	k.mu.Unlock()
	for _, h := range hops {
		_ = k.router.use(h) // one that has gone has been told of
	}
}

// neighbour asks what the kernel knows of a neighbour.
func (r *router) neighbour(h hop) (state uint16, mac [6]byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer, err := r.ask(unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, 0, h.message(0))
	if err != nil {
		return unix.NUD_NONE, mac, err
	}
	_, state, mac, err = parseNeighbour(answer)
	return state, mac, err
}

// use has the kernel do as if something was sent to the neighbour.
func (r *router) use(h hop) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.ask(unix.RTM_NEWNEIGH, unix.RTM_NEWNEIGH, unix.NLM_F_ACK, h.message(unix.NTF_USE))
	return err
}

// message is what follows a netlink header about a neighbour.
func (h hop) message(flags byte) []byte {
	b := make([]byte, unix.SizeofNdMsg, 40)
	b[0] = family(h.addr)
	binary.NativeEndian.PutUint32(b[4:], uint32(h.index))
	b[10] = flags
	return attribute(b, unix.NDA_DST, h.addr.AsSlice())
}

func parseNeighbour(b []byte) (h hop, state uint16, mac [6]byte, err error) {
	if len(b) < unix.SizeofNdMsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return h, 0, mac, errNoRoute // of a bridge, say
	}
	h.index = int(binary.NativeEndian.Uint32(b[4:]))
	state = binary.NativeEndian.Uint16(b[8:])
	err = attributes(b[unix.SizeofNdMsg:], func(kind uint16, data []byte) error {
		switch {
		case kind == unix.NDA_DST:
			h.addr, _ = netip.AddrFromSlice(data)
		case kind == unix.NDA_LLADDR && len(data) == len(mac):
			copy(mac[:], data)
		}
		return nil
	})
	return h, state, mac, err
}

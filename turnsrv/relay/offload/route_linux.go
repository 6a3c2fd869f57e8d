//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// route is the way from a local address to another: the interface, the neighbour there, and the most that fits, in bytes of
// IP; 0: as much as the interface takes.
type route struct {
	index int
	hop   netip.Addr
	mtu   int
}

var errNoRoute = errors.New("no route by Ethernet")

// router asks the kernel for routes (rtnetlink(7)).
type router struct {
	mu  sync.Mutex
	fd  int
	seq uint32
}

func newRouter() (*router, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The kernel answers at once; the deadline is for what nobody thought of.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &router{fd: fd}, nil
}

func (r *router) close() error { return unix.Close(r.fd) }

const routeMessage = unix.SizeofNlMsghdr + unix.SizeofRtMsg

// find asks for the route of what a socket bound to from sends to an address.
func (r *router) find(from, to netip.Addr) (route, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	b := make([]byte, routeMessage, 128)
	b[routeMessage-unix.SizeofRtMsg] = unix.AF_INET
	if to.Is6() {
		b[routeMessage-unix.SizeofRtMsg] = unix.AF_INET6
	}
	b[routeMessage-unix.SizeofRtMsg+1] = byte(to.BitLen())
	b[routeMessage-unix.SizeofRtMsg+2] = byte(from.BitLen())
	b = attribute(b, unix.RTA_DST, to.AsSlice())
	b = attribute(b, unix.RTA_SRC, from.AsSlice())
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], r.seq)
	if err := unix.Sendto(r.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return route{}, os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	for {
		n, _, err := unix.Recvfrom(r.fd, answer, 0)
		if err != nil {
			return route{}, os.NewSyscallError("recvfrom", err)
		}
		if n >= unix.SizeofNlMsghdr && binary.NativeEndian.Uint32(answer[8:]) == r.seq { // else the answer to one given up
			return parseRoute(answer[:n], to)
		}
	}
}

func attribute(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, data...) // addresses are whole words
}

func parseRoute(b []byte, to netip.Addr) (route, error) {
	if binary.NativeEndian.Uint16(b[4:]) != unix.RTM_NEWROUTE || len(b) < routeMessage {
		if len(b) >= unix.SizeofNlMsghdr+4 && binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR {
			errno := -int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:]))
			return route{}, fmt.Errorf("%w: %w", errNoRoute, unix.Errno(errno))
		}
		return route{}, errNoRoute
	}
	if b[unix.SizeofNlMsghdr+7] != unix.RTN_UNICAST {
		return route{}, errNoRoute // this machine's own address, a broadcast
	}
	out := route{hop: to}
	err := attributes(b[routeMessage:], func(kind uint16, data []byte) error {
		switch kind {
		case unix.RTA_OIF:
			if len(data) == 4 {
				out.index = int(binary.NativeEndian.Uint32(data))
			}
		case unix.RTA_GATEWAY:
			out.hop, _ = netip.AddrFromSlice(data)
		case unix.RTA_VIA: // a gateway of the other family
			return errNoRoute
		case unix.RTA_METRICS:
			return attributes(data, func(kind uint16, data []byte) error {
				if kind == unix.RTAX_MTU && len(data) == 4 {
					out.mtu = int(binary.NativeEndian.Uint32(data))
				}
				return nil
			})
		}
		return nil
	})
	if err == nil && (out.index == 0 || out.hop.Is4() != to.Is4()) {
		err = errNoRoute
	}
	return out, err
}

func attributes(b []byte, f func(kind uint16, data []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return errNoRoute
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED, b[unix.SizeofRtAttr:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// network is what is known of this machine's interfaces.
type network struct {
	byIndex map[int]net.Interface
	byAddr  map[netip.Addr]int // the index of the interface with a local address
	addrs   map[int][]string   // by the same index, sorted
}

func look() (network, error) {
	n := network{map[int]net.Interface{}, map[netip.Addr]int{}, map[int][]string{}}
	all, err := net.Interfaces()
	if err != nil {
		return n, err
	}
	for _, i := range all {
		n.byIndex[i.Index] = i
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				n.byAddr[p.Addr().Unmap()] = i.Index
				n.addrs[i.Index] = append(n.addrs[i.Index], p.String())
			}
		}
		slices.Sort(n.addrs[i.Index])
	}
	return n, nil
}

// changed says what of an interface is not as it was: the link (up or down, its hardware address), or the addresses.
func (n network) changed(o network, index int) (link, addrs bool) {
	a, b := n.byIndex[index], o.byIndex[index]
	return a.Flags != b.Flags || !bytes.Equal(a.HardwareAddr, b.HardwareAddr), !slices.Equal(n.addrs[index], o.addrs[index])
}

// ethernet reports whether frames of the interface begin as the program expects.
func ethernet(i net.Interface) bool {
	return i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagPointToPoint == 0 && len(i.HardwareAddr) == 6
}

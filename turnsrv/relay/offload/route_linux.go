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

// router asks the kernel for routes, neighbours and interfaces (rtnetlink(7)).
type router struct {
	mu     sync.Mutex
	fd     int
	seq    uint32
	answer [16 << 10]byte
	known  map[[2]netip.Addr]found // while many flows are looked at one after the other; else nil
}

// found is what was found between two addresses.
type found struct {
	route
	error
}

// remember has answers kept until [router.forget]: flows between the same two addresses need them again and again.
func (r *router) remember() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = make(map[[2]netip.Addr]found)
}

func (r *router) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = nil
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

// ask sends a request with one answer, and returns what is behind the answer's netlink header. The answer is good until the
// next call, so mu is held over both.
func (r *router) ask(kind, answer, flags uint16, body []byte) ([]byte, error) {
	r.seq++
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[8:], r.seq)
	if err := unix.Sendto(r.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	for {
		n, _, err := unix.Recvfrom(r.fd, r.answer[:], 0)
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		got := r.answer[:n]
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint32(got[8:]) != r.seq {
			continue // the answer to one given up
		}
		switch body := got[unix.SizeofNlMsghdr:]; binary.NativeEndian.Uint16(got[4:]) {
		case answer:
			return body, nil
		case unix.NLMSG_ERROR:
			if errno := -int32(binary.NativeEndian.Uint32(body)); errno != 0 {
				return nil, unix.Errno(errno)
			}
			return nil, nil // an acknowledgement
		default:
			return nil, errNoRoute
		}
	}
}

// find asks for the route of what a socket bound to from sends to an address.
func (r *router) find(from, to netip.Addr) (route, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pair := [2]netip.Addr{from, to}
	if f, ok := r.known[pair]; ok {
		return f.route, f.error
	}
	out, err := r.look(from, to)
	if r.known != nil {
		r.known[pair] = found{out, err}
	}
	return out, err
}

func (r *router) look(from, to netip.Addr) (route, error) {
	b := make([]byte, unix.SizeofRtMsg, 64)
	b[0], b[1], b[2] = family(to), byte(to.BitLen()), byte(from.BitLen())
	b = attribute(b, unix.RTA_DST, to.AsSlice())
	b = attribute(b, unix.RTA_SRC, from.AsSlice())
	answer, err := r.ask(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, 0, b)
	if err != nil {
		return route{}, fmt.Errorf("%w: %w", errNoRoute, err)
	}
	return parseRoute(answer, to)
}

func family(a netip.Addr) byte {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func attribute(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, data...) // addresses are whole words
}

func parseRoute(b []byte, to netip.Addr) (route, error) {
	if len(b) < unix.SizeofRtMsg || b[7] != unix.RTN_UNICAST {
		return route{}, errNoRoute // this machine's own address, a broadcast
	}
	out := route{hop: to}
	err := attributes(b[unix.SizeofRtMsg:], func(kind uint16, data []byte) error {
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

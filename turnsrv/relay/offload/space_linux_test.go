//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
)

const (
	patience = 5 * time.Second
	quick    = 20 * time.Millisecond
)

// alone runs the test in a process and a network namespace of its own, and reports whether this is that process. Where there
// are no rights for that, or the kernel is too old, it skips the test and says why.
//
// Those that mostly wait are told so, and run beside each other.
func alone(t *testing.T, waits ...bool) bool {
	t.Helper()
	return netspace.Alone(t, netspace.Needs{
		Parallel: len(waits) > 0, Args: []string{"-datagrams", fmt.Sprint(*datagrams), "-churn", churn.String()},
		Ready: func() error {
			k, err := New(Config{Flows: 4})
			if err != nil {
				return fmt.Errorf("needs a kernel that lets it: %w", err)
			}
			return k.Close()
		},
	})
}

// space is a network namespace.
type space struct{ *netspace.Space }

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{netspace.New(t)}
	s.Run("ip link set lo up")
	return s
}

// joined joins this namespace and another by a veth pair, with the addresses ending in 2 here and in 1 there.
func joined(t testing.TB, name string, number int, to *space) {
	t.Helper()
	there := name + "x"
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", name).Run() }) // the namespaces linger
	netspace.Run(t, fmt.Sprintf("ip link add %s type veth peer name %s netns %d", name, there, to.Tid))
	netspace.Run(t, fmt.Sprintf("ip address add 198.18.%d.2/24 dev %s", number, name))
	netspace.Run(t, fmt.Sprintf("ip address add fd00:0:0:%d::2/64 dev %s nodad", number, name))
	netspace.Run(t, "ip link set "+name+" up")
	to.Run(fmt.Sprintf("ip address add 198.18.%d.1/24 dev %s", number, there))
	to.Run(fmt.Sprintf("ip address add fd00:0:0:%d::1/64 dev %s nodad", number, there))
	to.Run("ip link set " + there + " up")
}

func address(family, number, host int) netip.Addr {
	if family == 4 {
		return netip.MustParseAddr(fmt.Sprintf("198.18.%d.%d", number, host))
	}
	return netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::%d", number, host))
}

// endpoint is a UDP socket in a namespace.
type endpoint struct {
	testing.TB
	*net.UDPConn
	addr netip.AddrPort
}

func (s *space) endpoint(ip netip.Addr) *endpoint {
	s.Helper()
	var c *net.UDPConn
	var err error
	s.In(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))) })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadBuffer(4 << 20)
	return &endpoint{s.TB, c, netip.AddrPortFrom(ip, c.LocalAddr().(*net.UDPAddr).AddrPort().Port())}
}

func (e *endpoint) to(a netip.AddrPort, b []byte) {
	e.Helper()
	if _, err := e.WriteToUDPAddrPort(b, a); err != nil {
		e.Fatal(err)
	}
}

// next is the next datagram within a time, and where it came from; nil: there is none.
func (e *endpoint) next(within time.Duration) ([]byte, netip.AddrPort) {
	e.Helper()
	b := make([]byte, 64<<10)
	_ = e.SetReadDeadline(time.Now().Add(within))
	n, from, err := e.ReadFromUDPAddrPort(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, from
	}
	if err != nil {
		e.Fatal(err)
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// drain takes what comes until nothing has for so long.
func (e *endpoint) drain(quiet time.Duration) {
	e.Helper()
	for b, _ := e.next(quiet); b != nil; {
		b, _ = e.next(quiet)
	}
}

func (e *endpoint) expect(from netip.AddrPort, want []byte) {
	e.Helper()
	got, a := e.next(patience)
	if a != from || !bytes.Equal(got, want) {
		e.Fatalf("got %d bytes %.40x from %s, want %d bytes %.40x from %s", len(got), got, a, len(want), want, from)
	}
}

package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestRelayPortsThatCannotBeOpened(t *testing.T) {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	held, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	port := uint16(held.LocalAddr().(*net.UDPAddr).Port)
	bad, total := tryPorts(t.Context(), []netip.Addr{loopback}, []uint16{port}, nil)
	if len(bad) != 1 || total != 1 || !errors.Is(bad[0].err, syscall.EADDRINUSE) {
		t.Fatalf("%+v", bad)
	}
	if own, _ := tryPorts(t.Context(), []netip.Addr{loopback}, []uint16{port}, map[uint16]bool{port: true}); len(own) != 0 {
		t.Errorf("the server's own: %+v", own)
	}
	denied := badPort{netip.AddrPortFrom(loopback, 900), &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}}
	for _, c := range []struct {
		bad   []badPort
		total int
		want  string
	}{
		{nil, 100, ""},
		{bad, 100, ""}, // one of many
		{bad, 10, "relay_ports.taken"},
		{append(bad, denied), 1000, "relay_ports.denied"},
	} {
		found := relayPortFindings(c.bad, c.total)
		if c.want == "" && len(found) == 0 {
			continue
		}
		if len(found) != 1 || found[0].ID != c.want || found[0].Remedy == "" || strings.ContainsAny(found[0].Detail, "\n") {
			t.Errorf("%d of %d: %+v, want %s", len(c.bad), c.total, found, c.want)
		}
	}
	held.Close()
	if err := tryPort(bad[0].at); err != nil {
		t.Errorf("free again: %v", err)
	}
}

func TestSampleOfPorts(t *testing.T) {
	for _, r := range [][2]uint16{{1, 65535}, {49152, 65535}, {1000, 1255}, {1000, 1256}, {7, 7}, {7, 8}} {
		ports := sample(r[0], r[1])
		if ports[0] != r[0] || ports[len(ports)-1] != r[1] || len(ports) != min(tried, int(r[1])-int(r[0])+1) {
			t.Errorf("%v: %v", r, ports)
		}
		if !slices.IsSorted(ports) || len(slices.Compact(slices.Clone(ports))) != len(ports) {
			t.Errorf("%v: not spread: %v", r, ports)
		}
	}
}

// The running process says so by itself, and works all the same.
func TestRelayPortsAreTriedAtTheStart(t *testing.T) {
	held, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	port := held.LocalAddr().(*net.UDPAddr).Port
	s := startSite(t, fmt.Sprintf("[public]\nipv4 = \"127.0.0.1\"\nipv6 = \"off\"\n[turn]\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = []\nrelay_ports = \"%d-%d\"\n", port, port))
	eventually(t, "the port is found to be taken", s.warns("relay_ports.taken"))
	if log := s.log.String(); strings.Count(log, "a tenth or more of the relay ports") != 1 {
		t.Errorf("the log: %s", log)
	}
}

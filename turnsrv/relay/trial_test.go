package relay

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestTryPorts(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PortMin, c.PortMax = 33100, 33107 })
	var held []*net.UDPConn
	for _, port := range []uint16{33101, 33104, 33107} {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback4, port)))
		if err != nil {
			t.Skipf("port %d is somebody's: %v", port, err)
		}
		held = append(held, c)
	}
	all := w.TryPorts()
	if len(all) != 2 || all[0] != (PortTrial{Family: 4, First: 33100, Last: 33107, Tried: 8, Taken: 3}) || all[1].Family != 6 || all[1].Tried != 8 {
		t.Errorf("%+v", all)
	}
	for _, c := range held {
		_ = c.Close()
	}
	if w.FreePorts(4) != 8 || w.FreePorts(6) != 8 {
		t.Errorf("%d and %d ports are free after the trial", w.FreePorts(4), w.FreePorts(6))
	}
	for range 8 { // and can be had
		w.client(w.udp4).open(OpenOptions{})
	}
	if all = w.TryPorts(); all[0].Tried != 0 {
		t.Errorf("ports of live relays are tried: %+v", all[0])
	}

	// Of a large range some are tried, the first and the last among them.
	large := newWorld(t, func(c *Config) { c.PortMin, c.PortMax = 20000, 29999 })
	if all = large.TryPorts(); all[0].Tried < triedAtMost || all[0].Tried > 2*triedAtMost || all[0].Err != nil {
		t.Errorf("%+v", all[0])
	}
	// An address that this machine does not have.
	foreign := newWorld(t, func(c *Config) { c.IPv4 = Family{Bind: netip.MustParseAddr("192.0.2.77")} })
	if all = foreign.TryPorts(); all[0].Err == nil || all[0].Tried != 1 || foreign.FreePorts(4) != 2001 {
		t.Errorf("%+v, %d free", all[0], foreign.FreePorts(4))
	}
}

// A port that may not be bound is passed over, and not tried again.
func TestForbiddenPorts(t *testing.T) {
	p := newPorts(Family{Bind: loopback4}, 1000, 1009)
	tried := map[uint16]int{}
	take := func() error {
		return p.take(false, false, func(port uint16) (bool, error) {
			tried[port]++
			if port < 1005 {
				return false, errForbidden
			}
			return true, nil
		})
	}
	for i := range 5 {
		if err := take(); err != nil {
			t.Fatalf("port %d of 5: %v", i, err)
		}
	}
	if err := take(); !errors.Is(err, ErrPrivileged) {
		t.Errorf("when none is left: %v", err)
	}
	for port, n := range tried {
		if n != 1 {
			t.Errorf("port %d was tried %d times", port, n)
		}
	}
}

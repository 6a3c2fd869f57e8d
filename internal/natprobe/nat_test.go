package natprobe

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// bind makes a socket at an address of loopback, which ends with the test. A port that is taken gives nil.
func bind(t *testing.T, ip string, port uint16) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), port)))
	if err != nil && port == 0 {
		t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func at(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// four binds two ports at each of two addresses: place n is address n/2 and port n%2.
func four(t *testing.T, one, other string) (all [4]*net.UDPConn) {
	t.Helper()
	for i := range 2 {
		for all[2+i] == nil {
			all[i] = bind(t, one, 0)
			all[2+i] = bind(t, other, at(all[i]).Port())
		}
	}
	return all
}

// loop calls f with each datagram until the test ends.
func loop(t *testing.T, c *net.UDPConn, f func(b []byte, from netip.AddrPort)) {
	var ended sync.WaitGroup
	ended.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			f(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	})
	t.Cleanup(func() { _ = c.Close(); ended.Wait() })
}

// server answers as RFC 5780 has it, and says that it is at told.
type server struct {
	socks, told [4]netip.AddrPort
	silent      [4]bool // places that answer nothing, and from which nothing comes
	code        int     // of the answer to CHANGE-REQUEST
	stubborn    bool    // it ignores CHANGE-REQUEST
	other       func(n int) netip.AddrPort
	plain       netip.AddrPort // in place of the right MAPPED-ADDRESS
}

func (s *server) serve(t *testing.T, socks [4]*net.UDPConn) {
	for n, c := range socks {
		loop(t, c, func(b []byte, from netip.AddrPort) {
			var m stunmsg.Message
			if m.Parse(b) != nil || s.silent[n] {
				return
			}
			out := n
			if v, ok := m.Get(stunmsg.AttrChangeRequest); ok && len(v) == 4 {
				if s.code != 0 {
					_, _ = c.WriteToUDPAddrPort(stunmsg.Begin(nil, m.Type.Error(), m.TransactionID()).ErrorCode(s.code).Bytes(), from)
					return
				}
				if v[3]&stunmsg.ChangeIP != 0 {
					out ^= 2
				}
				if v[3]&stunmsg.ChangePort != 0 {
					out ^= 1
				}
			}
			if s.stubborn {
				out = n
			}
			plain := from
			if s.plain.IsValid() {
				plain = s.plain
			}
			w := stunmsg.Begin(nil, m.Type.Success(), m.TransactionID()).Addr(stunmsg.AttrMappedAddress, plain).XORAddr(stunmsg.AttrXORMappedAddress, from)
			if other := s.other(n); other.IsValid() {
				w.Addr(stunmsg.AttrOtherAddress, other)
			}
			if !s.silent[out] {
				_, _ = socks[out].WriteToUDPAddrPort(w.Bytes(), from)
			}
		})
	}
}

// nat is between clients, who send to its inner sockets, and a server: each of those stands for a place of the server.
type nat struct {
	mapping, filtering Behavior
	inner              [4]*net.UDPConn
	outer              [4]netip.AddrPort

	mu   sync.Mutex
	maps map[string]*mapped
}

// mapped is an outer address that a client has.
type mapped struct {
	conn   *net.UDPConn
	client netip.AddrPort
	sent   map[string]bool // to which addresses, and which addresses and ports
}

func (n *nat) run(t *testing.T) {
	n.maps = make(map[string]*mapped)
	for i, c := range n.inner {
		loop(t, c, func(b []byte, from netip.AddrPort) {
			m := n.mapped(t, from, n.outer[i])
			_, _ = m.conn.WriteToUDPAddrPort(b, n.outer[i])
		})
	}
}

func (n *nat) mapped(t *testing.T, client, to netip.AddrPort) *mapped {
	key := client.String()
	switch n.mapping {
	case AddressDependent:
		key += to.Addr().String()
	case PortDependent:
		key += to.String()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.maps[key]
	if m == nil {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)})
		if err != nil {
			panic(err)
		}
		m = &mapped{conn: conn, client: client, sent: make(map[string]bool)}
		n.maps[key] = m
		loop(t, m.conn, func(b []byte, from netip.AddrPort) {
			for i, at := range n.outer {
				if at == from && n.lets(m, from) {
					_, _ = n.inner[i].WriteToUDPAddrPort(b, m.client)
				}
			}
		})
	}
	m.sent[to.String()], m.sent[to.Addr().String()] = true, true
	return m
}

func (n *nat) lets(m *mapped, from netip.AddrPort) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch n.filtering {
	case AddressDependent:
		return m.sent[from.Addr().String()]
	case PortDependent:
		return m.sent[from.String()]
	}
	return true
}

// rig is a server, behind a NAT unless that is nil, as clients reach it.
func rig(t *testing.T, s *server, n *nat) (reached [4]netip.AddrPort) {
	t.Helper()
	real := four(t, "127.0.2.1", "127.0.2.2")
	for i, c := range real {
		s.socks[i], s.told[i] = at(c), at(c)
	}
	if n != nil {
		n.inner, n.outer = four(t, "127.0.1.1", "127.0.1.2"), s.socks
		for i, c := range n.inner {
			s.told[i] = at(c)
		}
		n.run(t)
	}
	if s.other == nil {
		s.other = func(n int) netip.AddrPort { return s.told[n^3] }
	}
	s.serve(t, real)
	return s.told
}

var kinds = []Behavior{EndpointIndependent, AddressDependent, PortDependent}

func (n *nat) String() string {
	return fmt.Sprintf("%s mapping, %s filtering", n.mapping, n.filtering)
}

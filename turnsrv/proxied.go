package turnsrv

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// The PROXY protocol (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt): before all else a proxy says where its
// client comes from. A connection from a proxy without a header counts as the proxy's own, such as a check of its health:
// nothing that is served here begins like a header.

// How headers begin.
const (
	beginsV1 = "PROXY "
	beginsV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// How long they are at most.
const (
	longestV1 = 107
	fixedV2   = 16 // and as much again as its last two bytes say
	longestV2 = fixedV2 + 4<<10
)

// nginx writes TCP6 lines with IPv4 addresses in them where its client and this server are of different families.
func init() { proxyproto.V1AcceptIPv4InTCP6 = true }

var (
	errTurnedAway = errors.New("the client was turned away")
	errNoHeader   = errors.New("no PROXY header")
	errHeader     = errors.New("a malformed PROXY header")
)

// mayBeHeader reports whether a connection that begins with this byte may begin with a header.
func mayBeHeader(first byte) bool { return first == beginsV1[0] || first == beginsV2[0] }

// unwrap takes a PROXY header off the front of a connection, and the client's place becomes one of the address that is in it.
// It returns the byte that the client's own part begins with, and what to go on reading from.
func (s *streams) unwrap(a *arrival, conn net.Conn) (first byte, _ net.Conn, err error) {
	p, ok := conn.(*relay.Conn)
	if !ok {
		if p, err = s.cfg.Plane.NonBlocking(a.c); err != nil {
			return 0, nil, err
		}
	}
	client, server, err := s.readHeader(a, p)
	switch {
	case errors.Is(err, errNoHeader):
	case errors.Is(err, errHeader):
		s.counts.malformedProxy.Add(1)
		return 0, nil, errTurnedAway
	case err != nil:
		return 0, nil, err
	case client.IsValid():
		if !s.move(a, client.Addr()) {
			return 0, nil, errTurnedAway
		}
		a.proxied, a.t.Client, a.t.Server = true, client, server
		p.As(net.TCPAddrFromAddrPort(client), net.TCPAddrFromAddrPort(server))
	}
	b, err := p.Peek(1)
	if err != nil {
		return 0, nil, err
	}
	return b[0], p, nil
}

// readHeader reads a header, if there is one, and nothing but that is gone from p then. Without a client there is none
// behind the proxy, or it does not say which.
func (s *streams) readHeader(a *arrival, p *relay.Conn) (client, server netip.AddrPort, err error) {
	b, err := p.Peek(1)
	for {
		if err != nil {
			return client, server, err
		}
		size, fault := headerSize(b)
		switch {
		case fault != nil && !errors.Is(fault, errHeader):
			return client, server, fault
		case size == 0 && fault == nil: // more is to come, of what may not be one
			b, err = p.Fill(longestV2)
			continue
		case !s.believes(a.t.Client.Addr()):
			s.counts.foreignProxy.Add(1)
			return client, server, errTurnedAway
		case fault != nil:
			return client, server, fault
		case size > len(b):
			b, err = p.Fill(longestV2)
			continue
		}
		client, server, err = parseHeader(b[:size])
		p.Skip(size)
		return client, server, err
	}
}

// believes reports whether a proxy may say where its clients come from.
func (s *streams) believes(proxy netip.Addr) bool {
	for _, p := range *s.proxies.Load() {
		if p.Contains(proxy) {
			return true
		}
	}
	return false
}

// move makes a client's place one of another address; it reports whether there is one.
func (s *streams) move(a *arrival, to netip.Addr) bool {
	seat, away, v := s.places.Move(a.seat, to)
	if seat == nil {
		s.counts.refused(v)
		return false
	}
	a.seat = seat
	if away != nil {
		s.counts.displaced.Add(1)
		away.Leave()
	}
	return true
}

// headerSize is how long the header is that b begins with, as far as that is known: at least one more than there is as long
// as the end of its line is to come. 0: there is not enough to tell whether it is one. The error is errNoHeader or, if it
// is one, errHeader.
func headerSize(b []byte) (int, error) {
	begins := func(with string) (is, may bool) {
		n := min(len(b), len(with))
		may = string(b[:n]) == with[:n]
		return may && n == len(with), may
	}
	isV1, mayV1 := begins(beginsV1)
	isV2, mayV2 := begins(beginsV2)
	switch {
	case isV1:
		line := b[:min(len(b), longestV1)]
		if end := bytes.Index(line, []byte("\r\n")); end >= 0 {
			return end + 2, nil
		}
		if len(line) == longestV1 {
			return 0, errHeader // its line does not end
		}
		return len(b) + 1, nil
	case isV2 && len(b) < fixedV2:
		return fixedV2, nil
	case isV2:
		size := fixedV2 + int(binary.BigEndian.Uint16(b[fixedV2-2:]))
		if size > longestV2 {
			return 0, errHeader
		}
		return size, nil
	case mayV1 || mayV2:
		return 0, nil
	}
	return 0, errNoHeader
}

// parseHeader reads a whole header. Without an error and without a client it is about the proxy's own connection, or about
// one of no address. The error is an errHeader.
func parseHeader(b []byte) (client, server netip.AddrPort, err error) {
	const proxyUnspec = "\x21\x00" // the library refuses it; the protocol leaves it to us, and UNKNOWN of v1 is the same
	if b[0] == beginsV2[0] && string(b[len(beginsV2):fixedV2-2]) == proxyUnspec {
		return client, server, nil
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return client, server, errHeader
	}
	if h.Command.IsLocal() || h.TransportProtocol.IsUnspec() || h.TransportProtocol.IsUnix() {
		return client, server, nil
	}
	from, to, ok := h.TCPAddrs()
	if !ok {
		return client, server, errHeader // of a datagram
	}
	client, server = unmapped(from), unmapped(to)
	if ip := client.Addr(); !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || !server.Addr().IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, errHeader // no client has such an address
	}
	return client, server, nil
}

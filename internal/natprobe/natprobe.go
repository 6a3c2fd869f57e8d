// Package natprobe finds out how the NATs between this machine and a STUN server behave (RFC 5780 §4.3 and §4.4), for the
// doctor command. The server needs a second address; what it says of it is not believed until it has answered from there.
package natprobe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Behavior is what a mapping, or what is let in, depends on (RFC 4787 §4.1 and §5).
type Behavior uint8

// The behaviors. Unknown is what could not be found out.
const (
	Unknown Behavior = iota
	EndpointIndependent
	AddressDependent
	PortDependent // on address and port
)

// String is the name in RFC 4787, as it stands before "mapping" or "filtering".
func (b Behavior) String() string {
	switch b {
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case PortDependent:
		return "address- and port-dependent"
	}
	return "unknown"
}

// Result is what was found out. It holds for this moment and this way: NATs change under load.
type Result struct {
	Local, Mapped netip.AddrPort // of this machine, and as the server sees it
	Other         netip.AddrPort // where the server says that it is too
	Mapping       Behavior
	Filtering     Behavior
	ALG           bool // something on the way rewrites addresses within messages
}

// NAT reports whether there is one.
func (r Result) NAT() bool { return r.Local != r.Mapped }

// Errors of Ask.
var (
	// ErrNotOffered means that the server has no second address, or does not tell it.
	ErrNotOffered = errors.New("the server does not offer NAT behavior discovery (RFC 5780)")
	// ErrSilent means that the server does not answer at all.
	ErrSilent = errors.New("no answer")
)

// Ask asks a server over UDP. It sends few datagrams, to the server's addresses alone, and takes as long as patience for
// each thing that a NAT keeps out. Nothing is left when it returns.
func Ask(ctx context.Context, server netip.AddrPort, patience time.Duration) (r Result, err error) {
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	one, err := open(server, patience)
	if err != nil {
		return r, err
	}
	defer one.conn.Close()
	if err := r.mapping(ctx, one, server); err != nil {
		return r, err
	}
	// What the first socket has sent to the other address may have opened the way from there.
	two, err := open(server, patience)
	if err != nil {
		return r, err
	}
	defer two.conn.Close()
	return r, r.filtering(ctx, two, server)
}

// mapping is §4.3.
func (r *Result) mapping(ctx context.Context, s *socket, server netip.AddrPort) error {
	first, err := s.ask(ctx, server)
	if err != nil {
		return err
	}
	r.Local, r.Mapped, r.Other = s.local, first.mapped, first.other
	r.ALG = first.plain.IsValid() && first.plain != first.mapped
	switch o := r.Other; {
	case !o.IsValid():
		return ErrNotOffered
	case o.Addr().Is4() != server.Addr().Is4() || o.Addr() == server.Addr() || o.Port() == server.Port() || o.Port() == 0 ||
		o.Addr().IsUnspecified() || o.Addr().IsMulticast() || o.Addr().IsLoopback() && !server.Addr().IsLoopback():
		return fmt.Errorf("%w: it says that its other address is %s", ErrNotOffered, o)
	case r.Mapped == r.Local:
		r.Mapping = EndpointIndependent
		return nil
	}
	second, err := s.ask(ctx, netip.AddrPortFrom(r.Other.Addr(), server.Port()))
	switch {
	case errors.Is(err, ErrSilent):
		return nil // unknown: its other address does not answer from here
	case err != nil:
		return err
	case second.mapped == r.Mapped:
		r.Mapping = EndpointIndependent
		return nil
	}
	third, err := s.ask(ctx, r.Other)
	switch {
	case errors.Is(err, ErrSilent):
		return nil
	case err != nil:
		return err
	}
	r.Mapping = PortDependent
	if third.mapped == second.mapped {
		r.Mapping = AddressDependent
	}
	return nil
}

// filtering is §4.4, with its second and third test at the same time: what is to come in for one tells nothing to the
// NAT about the other.
func (r *Result) filtering(ctx context.Context, s *socket, server netip.AddrPort) error {
	if _, err := s.ask(ctx, server); err != nil {
		return err
	}
	both, err := s.send(server, stunmsg.ChangeIP|stunmsg.ChangePort)
	if err != nil {
		return err
	}
	port, err := s.send(server, stunmsg.ChangePort)
	if err != nil {
		return err
	}
	got, err := s.hear(ctx, both, port)
	if err != nil && !errors.Is(err, ErrSilent) {
		return err
	}
	for i, want := range []netip.AddrPort{r.Other, netip.AddrPortFrom(server.Addr(), r.Other.Port())} {
		if a := got[i]; a != nil && (a.code != 0 || a.from != want) {
			if a.code != 0 {
				return fmt.Errorf("%w: it refuses to answer from elsewhere (%d)", ErrNotOffered, a.code)
			}
			return fmt.Errorf("%w: asked to answer from %s it answers from %s", ErrNotOffered, want, a.from)
		}
	}
	if got[0] != nil {
		r.Filtering = EndpointIndependent
		return nil
	}
	// Its other address may be out of reach for another reason than that nothing was sent there.
	switch _, err := s.ask(ctx, r.Other); {
	case errors.Is(err, ErrSilent):
		return nil
	case err != nil:
		return err
	}
	r.Filtering = PortDependent
	if got[1] != nil {
		r.Filtering = AddressDependent
	}
	return nil
}

// socket asks. It is not connected, since answers are to come from elsewhere.
type socket struct {
	conn     *net.UDPConn
	local    netip.AddrPort
	patience time.Duration
}

// open binds a socket at the address that the way to the server begins at.
func open(server netip.AddrPort, patience time.Duration) (*socket, error) {
	way, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, fmt.Errorf("no way to %s: %w", server, err)
	}
	from := way.LocalAddr().(*net.UDPAddr)
	_ = way.Close()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: from.IP, Zone: from.Zone})
	if err != nil {
		return nil, fmt.Errorf("opening a UDP socket: %w", err)
	}
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &socket{conn, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), patience}, nil
}

// answer is what came back.
type answer struct {
	from, mapped, plain, other netip.AddrPort
	code                       int
}

// question is a request that has been sent.
type question struct {
	to  netip.AddrPort
	raw []byte
}

func (s *socket) send(to netip.AddrPort, flags byte) (question, error) {
	id := newID()
	w := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:])
	if flags != 0 {
		w.Attr(stunmsg.AttrChangeRequest, []byte{0, 0, 0, flags})
	}
	q := question{to, w.Bytes()}
	return q, s.again(q)
}

func (s *socket) again(q question) error {
	if _, err := s.conn.WriteToUDPAddrPort(q.raw, q.to); err != nil {
		return fmt.Errorf("sending to %s: %w", q.to, err)
	}
	return nil
}

// ask sends one request and waits for its answer.
func (s *socket) ask(ctx context.Context, to netip.AddrPort) (answer, error) {
	q, err := s.send(to, 0)
	if err != nil {
		return answer{}, err
	}
	got, err := s.hear(ctx, q)
	switch {
	case err != nil:
		return answer{}, err
	case got[0].from != to:
		return answer{}, fmt.Errorf("%w from %s, but one from %s", ErrSilent, to, got[0].from)
	case got[0].code != 0 || !got[0].mapped.IsValid():
		return answer{}, fmt.Errorf("%w: Binding is refused (%d)", ErrNotOffered, got[0].code)
	}
	return *got[0], nil
}

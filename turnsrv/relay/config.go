// Package relay is the data plane of the TURN server: it owns the UDP sockets, the clients' streams and the relayed
// transport addresses, and moves datagrams between clients and peers (RFC 8656 §11 and §12). ChannelData and Send
// indications end here; every other STUN message is given to a Handler, which decides and then calls Open, Permit,
// Bind and Close.
//
// Two engines do the input and output with the same behaviour: on Linux one worker per core with recvmmsg, sendmmsg
// and segmentation offload, elsewhere (or with the build tag "portable") a goroutine for each UDP socket.
package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Transport is what a client reaches the server over.
type Transport uint8

// The transports of a client. The peer's side is always UDP.
const (
	UDP Transport = iota
	TCP
	TLS
	DTLS
)

// String is the name that configuration and metrics use: udp, tcp, tls or dtls.
func (t Transport) String() string {
	switch t {
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	case TLS:
		return "tls"
	case DTLS:
		return "dtls"
	}
	return fmt.Sprintf("transport %d", uint8(t))
}

// Tuple is the 5-tuple of RFC 8656 §2. Its addresses are never IPv4-mapped IPv6 ones, so that it can be compared.
type Tuple struct {
	Transport      Transport
	Client, Server netip.AddrPort
}

// Scope is how far a permission or a channel reaches.
type Scope uint8

// ScopeRelays reaches only live relayed transport addresses of this server, ScopeFleet those of other machines too
// ([Config.Sibling]), and ScopeAny every peer.
const (
	ScopeRelays Scope = iota + 1
	ScopeFleet
	ScopeAny
)

// Errors of Open. Test them with errors.Is.
var (
	ErrNoPorts = errors.New("no relay port is free: widen the range of relay ports")
	// ErrPrivileged stands in the place of ErrNoPorts where some ports of the range may not be bound by this process.
	ErrPrivileged = errors.New("no relay port is free that this process may bind: begin the range at 1024 or above")
	ErrFamily     = errors.New("no relays of this address family")
	ErrToken      = errors.New("unknown or expired reservation token")
	ErrClosed     = errors.New("the data plane or the client's connection is closed")
	ErrInUse      = errors.New("the client has a relay already")
	ErrBudget     = errors.New("no more memory for what is kept of this client's Node")
	ErrFiles      = errors.New("too many files are open, and the last ones are not for relays: raise the limit of open files")
)

// Errors of Permit and Bind, beside ErrBudget and ErrClosed.
var (
	ErrPermissions = fmt.Errorf("more than %d permissions", MaxPermissions)
	ErrChannels    = fmt.Errorf("more than %d channels", MaxChannels)
)

// Handler gets the STUN messages that are not data.
type Handler interface {
	// HandleSTUN is called for every STUN message except the Send indications of a client with a relay, once at a time
	// for each client and concurrently for different ones. msg has a valid header, may be longer than that says, and
	// must not be kept. HandleSTUN may call any method of the Plane and its Relays. For a client on UDP it delays
	// others of the same worker, so it should not block.
	HandleSTUN(src Source, msg []byte)
}

// Family says where relays of one address family are. A zero Bind turns the family off.
type Family struct {
	Bind      netip.Addr // local address of the relays' sockets; may be unspecified
	Advertise netip.Addr // address told to clients; zero: Bind
}

// Config configures a Plane. Only Handler and one Family are needed.
type Config struct {
	Handler Handler
	// DTLS is called with datagrams on the UDP listeners that look like DTLS records (RFC 7983). It must not block or
	// keep datagram. If it is nil they are dropped.
	DTLS func(src Source, datagram []byte)
	// OnClientGone is called once for a relay whose client's stream has ended, before the relay is closed. It should
	// call r.Close, and may do anything else.
	OnClientGone func(r *Relay, cause string)
	// OnClientAway is called in its place for a mobile relay, which stays. The client may come back: see [Relay.Await].
	OnClientAway func(r *Relay, cause string)
	// OnClientMoved is called when the client of a mobile relay has sent something on the path on which it was awaited. Its
	// former path has ended by then.
	OnClientMoved func(r *Relay, from, to Tuple)

	// OnPanic is called with the value of a panic in the path of a client's data, by the deferred function that
	// recovered it. The client's relay and connection end. If OnPanic is nil the panic is logged.
	OnPanic func(cause any)

	IPv4, IPv6       Family
	PortMin, PortMax uint16 // range of relay ports, both ends used; default 49152 to 65535
	MaxReservations  int    // ports held for reservation tokens at a time; default 256

	BitsPerSecond int64 // of each relay and direction, payload and headers of IP and UDP; 0: no limit
	// TotalBitsPerSecond is of all relays in both directions, likewise, divided fairly among their Shares; 0: no limit.
	TotalBitsPerSecond int64
	// AllowSend reports whether r may send to peer, for which it has a permission. It is called for each Send
	// indication. If it is nil, r may.
	AllowSend func(r *Relay, peer netip.AddrPort) bool
	// OwnListener reports whether peer is a listening socket of this process. Nothing is relayed to those, whatever
	// permissions say. It is called when a channel is bound and for each Send indication. If it is nil, only the
	// Plane's own UDP listeners count.
	OwnListener func(peer netip.AddrPort) bool

	// ICMP tells clients what ICMP says of the datagrams that they had sent to peers (RFC 8656 §11.5). Linux only.
	ICMP bool
	// Kernel relays channels below the sockets, where it can. nil: nothing does. Linux engine only.
	Kernel Kernel

	// Sibling reports whether r may exchange data with a relay of another machine at peer. It is called for each datagram that
	// [ScopeFleet] alone lets through, must be quick, and must not change the relay. If it is nil, r may not.
	Sibling func(r *Relay, peer netip.AddrPort) bool

	Workers int // of the Linux engine; default GOMAXPROCS
	// Files is how many descriptors this process may have open for Open to take another; 0: any number. Linux only.
	Files int

	// Deadlines of streams, checked about every second.
	AuthTimeout  time.Duration // until MarkAuthenticated; default 60 s
	IdleTimeout  time.Duration // without a relay and without a message; default 60 s
	FrameTimeout time.Duration // for the rest of a frame that has begun; default 10 s
	WriteTimeout time.Duration // without any progress in writing; default 10 s
	// AwayTimeout takes the place of the last two for a client with a relay: its network may be away for a while.
	// Agents of ICE give each other 30 s (RFC 7675), and TCP may take as long again to notice that the network is back.
	// Default 60 s.
	AwayTimeout time.Duration

	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // nil: discard

	thresholds // of the Linux engine; tests set them
}

func (c *Config) setDefaults() error {
	if c.Handler == nil {
		return errors.New("relay: no Handler is given")
	}
	if c.PortMin == 0 {
		c.PortMin = 49152
	}
	if c.PortMax == 0 {
		c.PortMax = 65535
	}
	if c.PortMin > c.PortMax {
		return fmt.Errorf("relay: the port range %d-%d is empty", c.PortMin, c.PortMax)
	}
	if err := c.IPv4.check(true); err != nil {
		return err
	}
	if err := c.IPv6.check(false); err != nil {
		return err
	}
	if n := min(c.BitsPerSecond, c.TotalBitsPerSecond); n < 0 {
		return fmt.Errorf("relay: %d bits per second is no limit", n)
	}
	if c.MaxReservations <= 0 {
		c.MaxReservations = 256
	}
	setDefault(&c.AuthTimeout, time.Minute)
	setDefault(&c.IdleTimeout, time.Minute)
	setDefault(&c.FrameTimeout, 10*time.Second)
	setDefault(&c.WriteTimeout, 10*time.Second)
	setDefault(&c.AwayTimeout, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func setDefault(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

// check unmaps both addresses and checks that they belong to the family.
func (f *Family) check(four bool) error {
	if !f.Bind.IsValid() {
		return nil
	}
	f.Bind = f.Bind.Unmap()
	if !f.Advertise.IsValid() {
		f.Advertise = f.Bind
	}
	f.Advertise = f.Advertise.Unmap()
	for _, a := range [2]netip.Addr{f.Bind, f.Advertise} {
		if a.Is4() != four {
			return fmt.Errorf("relay: %s is not of the address family it is configured for", a)
		}
	}
	return nil
}

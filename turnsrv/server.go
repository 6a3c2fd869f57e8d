// Package turnsrv is the STUN and TURN server: it listens on UDP, TCP, TLS and DTLS, and joins the data plane (package
// relay) with the control plane (package control). It knows nothing of webhooks or of the configuration file.
package turnsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/contain"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay/offload"
)

// Family is where relays of one address family are bound and which address clients are told.
type Family = relay.Family

// Config configures a [Server]. Zero values mean what their comments say.
type Config struct {
	Listen     []string // UDP and TCP; "host:port", ":port" for all addresses
	ListenTLS  []string // TLS and DTLS; every port takes plain and encrypted clients alike
	Transports []string // any of udp, tcp, tls, dtls
	// Passed are sockets that listen already at addresses of Listen or ListenTLS; New uses them instead of binding
	// those itself. The Server closes them.
	Passed     []*net.TCPListener
	Realm      string
	IPv4, IPv6 Family // an invalid Bind turns that family off
	PortMin    uint16 // first relay port
	PortMax    uint16 // last relay port

	Offload Offload // empty: off

	Settings Settings // what Prepare may change later

	Keys  *credential.Keyring
	Peers *peers.Policy
	Nodes control.Directory
	// Ledger is told what Nodes use, see [Server.Account]. May be nil.
	Ledger control.Ledger
	// Elsewhere returns how many allocations a Node has at other machines, see [control.Config]. May be nil.
	Elsewhere func(node string) int
	// Ties is what machines tell each other of who has which relay; where relays are is known to Peers. nil: with
	// [control.PeersAuthorized] no relay of another machine is reached.
	Ties Ties
	// Certificate finds the one for a ClientHello. One whose only protocol is acme-tls/1 is a CA's question by tls-alpn-01
	// (RFC 8737): its answer, or an error.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// HTTP is given the clients that speak HTTP over TLS at ListenTLS while Settings.HTTP is set. It may wait, until ctx
	// ends, for somebody to take the connection, and reports whether somebody did: the connection is theirs then, and no
	// longer one of this server's. May be nil.
	HTTP func(ctx context.Context, c net.Conn) bool
	// Protected returns this process's other listeners, such as the webhooks, which are never a peer. May be nil.
	Protected func() []netip.AddrPort
	Now       func() time.Time
	Logger    *slog.Logger
}

// Settings are what Prepare may change while the server runs.
type Settings struct {
	control.Settings
	DrainTimeout  time.Duration // how long Run waits at its end for live allocations
	BitsPerSecond int64         // per allocation, each way; 0: no limit
	// TotalBitsPerSecond is of all allocations, both ways, divided fairly among Nodes; 0: no limit.
	TotalBitsPerSecond int64
	ICMP               bool // tells clients of new allocations what ICMP says of their datagrams, see [relay.Config]
	ConnectionsPerIP   int  // TCP and TLS together, and as many with DTLS; 0: no limit
	HTTP               bool // HTTP is answered at ListenTLS, by Config.HTTP
	// Discovery has addresses of this machine, two of a family, at which clients can find out how the NATs on their way behave
	// (RFC 5780), if UDP listeners are at both on the same two ports. Binding answers there are larger. Empty: nowhere.
	Discovery []DiscoveryIP
	// OuterPorts are the ports at which clients reach those listeners that have another one.
	OuterPorts map[uint16]uint16
	// Proxies are those whose PROXY headers (v1 and v2) are believed on TCP and TLS: the client is then where they say. One
	// from elsewhere ends the connection.
	Proxies []netip.Prefix
}

// Listener is a socket address that the server listens on.
type Listener struct {
	Transport string // udp, tcp, tls, dtls
	Addr      netip.AddrPort
}

// Server is a TURN server. Make it with [New], then [Server.Run] or [Server.Close] it. Its methods are safe for
// concurrent use.
type Server struct {
	cfg       Config
	log       *slog.Logger
	control   *control.Control
	plane     *relay.Plane
	streams   *streams
	listeners []Listener       // as clients are told them
	bound     []netip.AddrPort // every socket
	packets   []netip.AddrPort // those of UDP
	open      connections
	panics    contain.Panics
	discovery discovery

	offload   *offload.Kernel // nil: nothing is relayed in the kernel
	noOffload string          // why not

	drainTimeout atomic.Int64              // Settings.DrainTimeout
	drainEnds    atomic.Pointer[time.Time] // nil: not draining
}

// New validates cfg and binds every listener. The caller must Run the server, or Close it.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.Transports) == 0 {
		return nil, errors.New("turn.transports is empty: name at least one of udp, tcp, tls, dtls")
	}
	if cfg.Ties == nil {
		cfg.Ties = control.NoTies{}
	}
	s := &Server{cfg: cfg, log: cfg.Logger}
	s.drainTimeout.Store(int64(cfg.Settings.DrainTimeout))
	workers := max(1, runtime.GOMAXPROCS(0))
	var err error
	s.control, err = control.New(control.Config{
		Realm: cfg.Realm, Keys: cfg.Keys, Nodes: cfg.Nodes, Ledger: cfg.Ledger, Elsewhere: cfg.Elsewhere, CheckPeer: s.checkPeer, OwnListener: s.ownListener, Fleet: siblings{cfg.Peers, cfg.Ties},
		Settings: cfg.Settings.Settings, Engines: workers, Now: cfg.Now, Logger: cfg.Logger,
		OnPanic: s.stopped,
	})
	if err != nil {
		return nil, err
	}
	err = s.bind(workers)
	if err == nil {
		err = s.checkAlternate(cfg.Settings.Alternate)
	}
	if err == nil {
		err = s.openDiscovery()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// checkAlternate refuses to send clients to where they are.
func (s *Server) checkAlternate(all []netip.AddrPort) error {
	for _, a := range all {
		if s.ownListener(a) {
			return fmt.Errorf("turn.alternate: %s is this server: name another one", a)
		}
	}
	return nil
}

func (s *Server) has(transport string) bool { return slices.Contains(s.cfg.Transports, transport) }

// Listeners returns what the server listens on: UDP first, then TCP, TLS and DTLS.
func (s *Server) Listeners() []Listener { return slices.Clone(s.listeners) }

// Run serves until ctx ends, then refuses new allocations, waits for live ones until none is left or DrainTimeout has
// passed, and closes everything. It returns when all that it started has ended.
func (s *Server) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(work)
	// The data plane outlives the streams, so that DTLS clients are told of the end.
	plane, stopPlane := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPlane()
	offloading, stopOffload := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOffload()
	g.Go(func() error { return s.runOffload(offloading) })
	g.Go(func() error {
		defer stopOffload() // what it has counted goes to the relays as they end
		return s.plane.Run(plane)
	})
	g.Go(func() error {
		defer stopPlane()
		return s.streams.Run(gctx)
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			s.Drain()
			s.awaitAllocations(gctx)
			stop()
		case <-gctx.Done():
		}
		return nil
	})
	err := g.Wait()
	return errors.Join(err, s.control.Close(), s.closeOffload())
}

// Close releases what [New] bound, for a Server that is not [Server.Run].
func (s *Server) Close() error {
	var errs []error
	if s.streams != nil {
		errs = append(errs, s.streams.Close())
	}
	if s.plane != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		errs = append(errs, s.plane.Run(ended)) // closes what it had bound
	}
	return errors.Join(append(errs, s.control.Close(), s.closeOffload())...)
}

// Prepare gets other settings ready. Live allocations and connections stay; the rate limit holds for them too, and
// another DrainTimeout for a Drain that has not begun.
func (s *Server) Prepare(next Settings) (change.Change, error) {
	places, errPlace := s.place(next)
	if err := errors.Join(s.checkAlternate(next.Alternate), errPlace); err != nil {
		return change.Change{}, err
	}
	return change.New(func() {
		s.control.Apply(next.Settings)
		s.plane.SetBitsPerSecond(next.BitsPerSecond)
		s.plane.SetTotalBitsPerSecond(next.TotalBitsPerSecond)
		s.plane.SetICMP(next.ICMP)
		s.streams.limit(next.ConnectionsPerIP)
		s.streams.serveHTTP(next.HTTP)
		s.streams.believe(next.Proxies)
		s.drainTimeout.Store(int64(next.DrainTimeout))
		s.settle(func(d *discovery) { d.set = places })
	}, nil), nil
}

// PrepareMove gets ready to replace Config.IPv4 and Config.IPv6 for new allocations; live ones keep the address that
// they were told. Every address that clients were told and that is in use counts as this server's in Config.Peers. The
// caller calls Recheck after it.
func (s *Server) PrepareMove(v4, v6 Family) (change.Change, error) {
	move, err := s.plane.PrepareMove(v4, v6)
	if err != nil {
		return change.Change{}, err
	}
	return change.New(func() {
		s.cfg.Peers.SetPublic(move())
		s.settle(func(d *discovery) { d.v4, d.v6 = v4, v6 })
	}, nil), nil
}

// Recheck brings live allocations into line with a peer policy that has changed: when it returns, nothing more is
// relayed to and from peers that are denied now.
func (s *Server) Recheck() { s.control.Recheck() }

// Live returns the number of live allocations.
func (s *Server) Live() int { return s.control.Live() }

// Allocations returns the live allocations, oldest first.
func (s *Server) Allocations() []control.Allocation { return s.control.Allocations() }

// Toward returns those of a Node's live allocations that let data through to and from one of these addresses.
func (s *Server) Toward(node string, peers []netip.Addr) []control.Allocation {
	return s.control.Toward(node, peers)
}

// Changed returns how many allocations Nodes have whose number has changed, see [control.Control.Changed].
func (s *Server) Changed() map[string]int { return s.control.Changed() }

// CloseNode ends every live allocation of a Node and returns how many there were. When it returns, none of them relays
// any more.
func (s *Server) CloseNode(node, cause string) int { return s.control.CloseNode(node, cause) }

// CloseAllocation ends one allocation by its id and reports whether there was one.
func (s *Server) CloseAllocation(id, cause string) bool { return s.control.CloseAllocation(id, cause) }

// Account brings Config.Ledger up to date, and ends what may use no more, see [control.Control.Account].
func (s *Server) Account() { s.control.Account() }

// RelayAddrs returns the addresses of relays, see [relay.Plane.RelayAddrs].
func (s *Server) RelayAddrs() []netip.Addr { return s.plane.RelayAddrs() }

// Ties is the part of [control.Fleet] that is about who has a relay.
type Ties interface {
	Partner(node string, at netip.AddrPort, since time.Time) bool
	Held(at netip.AddrPort) (since time.Time, ok bool)
	Opened(node string, at netip.AddrPort)
	Ended(at netip.AddrPort)
}

// siblings shows control the relays of other machines.
type siblings struct {
	*peers.Policy
	Ties
}

// Streams returns a snapshot of the counters of TCP, TLS and DTLS.
func (s *Server) Streams() StreamStats { return s.streams.stats() }

// FreePorts returns how many relay ports are free, in all families together.
func (s *Server) FreePorts() int { return s.plane.FreePorts(4) + s.plane.FreePorts(6) }

// Stats returns a snapshot of the control plane's counters.
func (s *Server) Stats() control.Stats { return s.control.Stats() }

func (s *Server) checkPeer(ip netip.Addr) (allowed bool, cause string) {
	v := s.cfg.Peers.Check(ip)
	return v.Allowed, v.Cause
}

// ownListener reports whether a is a socket that this process listens on: relaying to it would turn the server against
// itself, whatever the peer policy allows.
func (s *Server) ownListener(a netip.AddrPort) bool {
	for _, l := range s.bound {
		if s.covers(l, a) {
			return true
		}
	}
	if s.cfg.Protected == nil {
		return false
	}
	for _, l := range s.cfg.Protected() {
		if s.covers(l, a) {
			return true
		}
	}
	return false
}

func (s *Server) covers(listener, a netip.AddrPort) bool {
	if listener.Port() != a.Port() {
		return false
	}
	ip := a.Addr().Unmap()
	if !listener.Addr().IsUnspecified() {
		return listener.Addr().Unmap() == ip
	}
	return ip.IsLoopback() || ip.IsUnspecified() || s.cfg.Peers.OwnIP(ip) || s.plane.OwnRelayIP(ip)
}

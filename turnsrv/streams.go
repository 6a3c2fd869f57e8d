package turnsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const (
	defaultHandshakeTimeout = 5 * time.Second
	defaultHalfOpen         = 1024
	defaultAssociations     = 8192
)

// streamServer is what streams need of the data plane: *relay.Plane.
type streamServer interface {
	ServeStream(ctx context.Context, conn net.Conn, t relay.Tuple) error
	ServeMessages(ctx context.Context, conn net.Conn, t relay.Tuple) error
	NonBlocking(c *net.TCPConn) (*relay.Conn, error)
}

// streamsConfig is what streams are made of.
type streamsConfig struct {
	Plane          streamServer
	TCP, TLS, DTLS bool // the transports that are served; clients of others are turned away
	Certificate    func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Passed         []*net.TCPListener // listen takes one of these where it has the address

	ConnectionsPerIP int // of an IPv4 address or an IPv6 /64, TCP and TLS together, and as many with DTLS; 0: no limit
	Connections      int // TCP and TLS in all; 0: what the limit of open files allows
	Files            int // descriptors that may be open for another TCP or TLS connection to be taken; 0: any number
	Associations     int // DTLS in all; default 8192
	HalfOpen         int // unfinished handshakes, TCP and TLS together, and as many with DTLS; default 1024

	HandshakeTimeout time.Duration // from the accepting to the end of the handshake; default 5 s
	Logger           *slog.Logger  // nil: discard
}

// streams accepts clients on TCP, tells TLS from plain by the first byte, does the handshakes of TLS and DTLS within
// limits, and hands the clients to the data plane. Make it with newStreams, bind with listen, then Run or Close it.
type streams struct {
	cfg    streamsConfig
	log    *slog.Logger
	tls    *tls.Config
	limits *limiter
	dtls   *associations
	counts streamCounters

	mu        sync.Mutex
	listeners []*net.TCPListener
	warned    time.Time
	conns     sync.WaitGroup
}

// StreamStats counts what became of the clients on TCP, TLS and DTLS.
type StreamStats struct {
	Open      int // connections of TCP and TLS, and DTLS associations
	HalfOpen  int // those of them that have not said what they are, or not finished their handshake
	Accepted  uint64
	Refused   uint64 // over a limit
	Displaced uint64 // half-open, and gave way to a newer one
	Failed    uint64 // no or broken handshakes, and bytes of no protocol that is served
}

type streamCounters struct{ accepted, refused, displaced, failed atomic.Uint64 }

func newStreams(cfg streamsConfig) (*streams, error) {
	if (cfg.TLS || cfg.DTLS) && cfg.Certificate == nil {
		return nil, errors.New("TLS and DTLS need a certificate")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshakeTimeout
	}
	if cfg.HalfOpen <= 0 {
		cfg.HalfOpen = defaultHalfOpen
	}
	if cfg.Associations <= 0 {
		cfg.Associations = defaultAssociations
	}
	if cfg.Connections <= 0 {
		cfg.Connections = connectionsWithin(openFiles())
	}
	s := &streams{cfg: cfg, log: cfg.Logger, tls: serverTLS(cfg.Certificate)}
	s.limits = newLimiter(cfg.ConnectionsPerIP, cfg.Connections, min(cfg.HalfOpen, max(1, cfg.Connections/2)), &s.counts)
	s.dtls = newAssociations(cfg, &s.counts)
	return s, nil
}

// listen binds a TCP address of one family, before Run; bindEach is for both. Its errors are for [listen.Error].
func (s *streams) listen(addr netip.AddrPort) (netip.AddrPort, error) {
	if s.takePassed(addr) {
		return addr, nil
	}
	network := "tcp4"
	if !addr.Addr().Unmap().Is4() {
		network = "tcp6" // of IPv6 only, also on its wildcard
	}
	l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return netip.AddrPort{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
	return netip.AddrPortFrom(addr.Addr().Unmap(), unmapped(l.Addr()).Port()), nil
}

// limit replaces streamsConfig.ConnectionsPerIP. Open connections stay.
func (s *streams) limit(perIP int) {
	s.limits.mu.Lock()
	s.limits.perSource = perIP
	s.limits.mu.Unlock()
	s.dtls.mu.Lock()
	s.dtls.perSource = perIP
	s.dtls.mu.Unlock()
}

// datagram takes a DTLS record that came in on a UDP listener; it is for relay.Config.DTLS and does not block.
func (s *streams) datagram(src relay.Source, b []byte) { s.dtls.datagram(src, b) }

// Run accepts until ctx ends, then closes every listener and connection and waits for all of them. The data plane
// should run on until Run has returned, so that DTLS clients are told of the end.
func (s *streams) Run(ctx context.Context) error {
	var accepting sync.WaitGroup
	s.mu.Lock()
	for _, l := range s.listeners {
		accepting.Go(func() { s.accept(ctx, l) })
	}
	s.mu.Unlock()
	<-ctx.Done()
	err := s.Close()
	accepting.Wait()
	s.limits.displaceAll()
	s.conns.Wait()
	return err
}

// Close releases what listen has bound and ends DTLS. It is for streams that are not Run.
func (s *streams) Close() error {
	s.mu.Lock()
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	s.listeners = nil
	s.mu.Unlock()
	s.dtls.close()
	return errors.Join(errs...)
}

// stats is a snapshot of the counters.
func (s *streams) stats() StreamStats {
	open, half := s.limits.size()
	a, h := s.dtls.size()
	return StreamStats{
		Open: open + a, HalfOpen: half + h,
		Accepted: s.counts.accepted.Load(), Refused: s.counts.refused.Load(),
		Displaced: s.counts.displaced.Load(), Failed: s.counts.failed.Load(),
	}
}

// unmapped is a TCP address as relay.Tuple has it.
func unmapped(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

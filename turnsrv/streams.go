package turnsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/contain"
	"github.com/crolang-p2p/crolang-aio/internal/places"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const (
	defaultHandshakeTimeout = 5 * time.Second
	defaultFirstWord        = time.Minute // as long as the data plane waits for an authenticated request
	defaultStrangers        = 8 << 10
	defaultAssociations     = 8192
	defaultDTLSStrangers    = 2048
)

// streamServer is what streams need of the data plane. *[relay.Plane] implements it.
type streamServer interface {
	ServeStream(ctx context.Context, conn net.Conn, t relay.Tuple, relaying func(bool)) error
	ServeMessages(ctx context.Context, conn net.Conn, t relay.Tuple, relaying func(bool)) error
	NonBlocking(c *net.TCPConn) (*relay.Conn, error)
}

// streamsConfig configures streams.
type streamsConfig struct {
	Plane          streamServer
	TCP, TLS, DTLS bool // the transports to serve; clients of others are turned away
	Certificate    func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Passed         []*net.TCPListener // listening already: listen uses the one at its address, if any
	// HTTP takes a client of a port for both that speaks HTTP, as Config.HTTP; nil: HTTP is served nowhere.
	HTTP func(ctx context.Context, c net.Conn) bool

	ConnectionsPerIP int // of an IPv4 address or an IPv6 /64, TCP and TLS together, and as many with DTLS; 0: its share alone
	Connections      int // TCP and TLS in all; 0: what the limit of open files allows
	Files            int // descriptors that may be open for another TCP or TLS connection to be taken; 0: any number
	Associations     int // DTLS in all; default 8192
	Strangers        int // of Connections, for clients without an allocation; default 8192
	DTLSStrangers    int // of Associations, likewise; default 2048

	HandshakeTimeout time.Duration // from the accepting to the end of the handshake; default 5 s
	FirstWord        time.Duration // from there to the first bytes, by which TURN is told from HTTP; default 1 min
	Logger           *slog.Logger  // nil: discard
	// OnPanic is called with the value of a panic that ended one connection, from within the deferred function that
	// stopped it. nil: the panic is logged.
	OnPanic func(cause any)
}

// streams accepts clients on TCP, tells TLS from plain by the first byte, does the handshakes of TLS and DTLS within
// limits, and hands the clients to the data plane. Make it with newStreams, bind with listen, then Run or Close it. It
// is safe for concurrent use.
type streams struct {
	cfg    streamsConfig
	log    *slog.Logger
	tls    *tls.Config
	shared *tls.Config // of ports for TURN and HTTP
	web    atomic.Bool // HTTP is served at those
	// proxies are those whose PROXY headers are believed.
	proxies atomic.Pointer[[]netip.Prefix]
	places  *places.Hall
	dtls    *associations
	counts  streamCounters
	guard   guard
	// turnstile is for the handshakes of TLS and DTLS together.
	turnstile *turnstile

	mu        sync.Mutex
	listeners []*port
	warned    time.Time
	conns     sync.WaitGroup
}

// port is a TCP listener.
type port struct {
	*net.TCPListener

	shared bool // HTTP may be served behind TLS
}

// StreamStats counts what became of the clients on TCP, TLS and DTLS.
type StreamStats struct {
	Open      int    // connections of TCP and TLS, and DTLS associations
	Strangers int    // those of them that have no allocation
	HalfOpen  int    // those of them that have not said what they are, or not finished their handshake
	Hellos    uint64 // first ClientHellos of DTLS, which are answered with a cookie and forgotten
	Accepted  uint64
	Displaced uint64 // strangers that gave way to a client of another source, or to a newer one of their own
	HTTP      uint64 // clients that spoke HTTP where it is served, and were handed on

	// Why clients were not let in.
	OverShare uint64 // their source had as many places as it may have
	Full      uint64 // every place was kept by a client with an allocation

	// Why clients were let go before they were served.
	Silent       uint64 // they did not get on with their handshake in time, or never said a word
	BadHandshake uint64
	Unserved     uint64 // the first bytes are of no protocol that is served
	StaleCookies uint64 // ClientHellos of DTLS with a cookie that is wrong or too old
	Panicked     uint64 // serving them panicked: always 0, but for a mistake of ours

	ForeignProxy   uint64 // they begin with a PROXY header, and come from no proxy that is believed
	MalformedProxy uint64 // the PROXY header of one that is believed is none
}

// Failed is how many clients were let go before they were served.
func (s StreamStats) Failed() uint64 {
	return s.Silent + s.BadHandshake + s.Unserved + s.StaleCookies + s.Panicked + s.ForeignProxy + s.MalformedProxy
}

// Refused is how many clients were not let in.
func (s StreamStats) Refused() uint64 { return s.OverShare + s.Full }

type streamCounters struct {
	accepted, displaced, overShare, full, silent, badHandshake, unserved, panicked atomic.Uint64
	hellos, staleCookies, http, foreignProxy, malformedProxy                       atomic.Uint64
}

// refused counts a client that was not let in.
func (c *streamCounters) refused(v places.Verdict) {
	switch v {
	case places.Full:
		c.full.Add(1)
	case places.OverShare:
		c.overShare.Add(1)
	case places.Seated, places.Displaced: // let in, or counted when it was
	}
}

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
	if cfg.FirstWord <= 0 {
		cfg.FirstWord = defaultFirstWord
	}
	if cfg.Strangers <= 0 {
		cfg.Strangers = defaultStrangers
	}
	if cfg.DTLSStrangers <= 0 {
		cfg.DTLSStrangers = defaultDTLSStrangers
	}
	if cfg.Associations <= 0 {
		cfg.Associations = defaultAssociations
	}
	if cfg.Connections <= 0 {
		cfg.Connections = connectionsWithin(openFiles())
	}
	if cfg.OnPanic == nil {
		panics := new(contain.Panics)
		cfg.OnPanic = func(cause any) {
			panics.Stopped(cfg.Logger, "a client was cut off by what should never fail: please report this", cause)
		}
	}
	// Half of the processors are for handshakes at most, if there is more than one.
	s := &streams{cfg: cfg, log: cfg.Logger, turnstile: newTurnstile(max(1, runtime.GOMAXPROCS(0)/2))}
	s.tls = serverTLS(cfg.Certificate, s.begin, func() bool { return false })
	s.shared = serverTLS(cfg.Certificate, s.begin, s.web.Load)
	s.believe(nil)
	s.guard = guard{&s.counts, cfg.OnPanic}
	s.places = places.New(cfg.Connections, cfg.Strangers, cfg.ConnectionsPerIP)
	s.dtls = newAssociations(cfg, &s.counts, &s.guard, s.turnstile)
	return s, nil
}

// listen binds a TCP address of one family, before Run; bindEach is for both. Its errors are for [listen.Error].
func (s *streams) listen(addr netip.AddrPort) (netip.AddrPort, error) { return s.bind(addr, false) }

// listenShared is listen for a port at which HTTP may be served.
func (s *streams) listenShared(addr netip.AddrPort) (netip.AddrPort, error) {
	return s.bind(addr, true)
}

func (s *streams) bind(addr netip.AddrPort, shared bool) (netip.AddrPort, error) {
	if s.takePassed(addr, shared) {
		return addr, nil
	}
	network := "tcp4"
	if !addr.Addr().Unmap().Is4() {
		network = "tcp6" // of IPv6 only, also on its wildcard
	}
	// Keepalives are for those who are served: four system calls for each stranger are worth saving.
	lc := net.ListenConfig{KeepAlive: -1}
	any, err := lc.Listen(context.Background(), network, addr.String())
	if err != nil {
		return netip.AddrPort{}, err
	}
	l := any.(*net.TCPListener)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, &port{l, shared})
	return netip.AddrPortFrom(addr.Addr().Unmap(), unmapped(l.Addr()).Port()), nil
}

// serveHTTP has HTTP served at shared ports from now on, or not. Open connections stay.
func (s *streams) serveHTTP(on bool) { s.web.Store(on && s.cfg.HTTP != nil) }

// believe has the PROXY headers of these believed from now on, and no other ones.
func (s *streams) believe(proxies []netip.Prefix) { s.proxies.Store(&proxies) }

// limit replaces streamsConfig.ConnectionsPerIP. Open connections stay.
func (s *streams) limit(perIP int) {
	s.places.Limit(perIP)
	s.dtls.places.Limit(perIP)
}

// datagram takes a DTLS record that came in on a UDP listener; it is for relay.Config.DTLS and does not block.
func (s *streams) datagram(src relay.Source, b []byte) { s.dtls.datagram(src, b) }

// Run accepts until ctx ends, then closes every listener and connection and waits for all of them. The data plane
// should keep running until Run has returned, so that DTLS clients are told of the end.
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
	s.places.DisplaceUnsettled()
	s.conns.Wait()
	return err
}

// Close releases what listen has bound and ends DTLS, for streams that are not Run.
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

// stats returns a snapshot of the counters.
func (s *streams) stats() StreamStats {
	open, strangers, half := s.places.Size()
	a, b, h := s.dtls.places.Size()
	c := &s.counts
	return StreamStats{
		Open: open + a, Strangers: strangers + b, HalfOpen: half + h, Hellos: c.hellos.Load(),
		Accepted: c.accepted.Load(), Displaced: c.displaced.Load(), OverShare: c.overShare.Load(), Full: c.full.Load(),
		Silent: c.silent.Load(), BadHandshake: c.badHandshake.Load(), Unserved: c.unserved.Load(),
		StaleCookies: c.staleCookies.Load(), Panicked: c.panicked.Load(), HTTP: c.http.Load(),
		ForeignProxy: c.foreignProxy.Load(), MalformedProxy: c.malformedProxy.Load(),
	}
}

// unmapped returns a TCP address the way [relay.Tuple] has it.
func unmapped(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

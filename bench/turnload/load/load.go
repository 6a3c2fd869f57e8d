// Package load drives a TURN server with real allocations and measures what it delivers and, where the server runs on
// this machine, what that costs its process.
//
// Each client opens an allocation and binds a channel to a peer socket of its own on this machine:
//
//	up:   client → ChannelData → server → datagram → peer
//	down: peer → datagram → server → ChannelData → client
//	echo: up, then down again
//	back: peer → datagram → something that sends it back to the peer
//
// Every datagram carries when it was sent and a number, so loss, reordering, jitter and latency are those of the
// datagrams that were sent while the measurement ran. Client and peer share a clock.
package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
)

// Directions of traffic. Setup opens the allocations and sends nothing through them. Back is for what is no relay, and sends
// back what arrives at its relayed addresses: the least that a datagram can cost there.
const (
	Up    = "up"
	Down  = "down"
	Echo  = "echo"
	Back  = "back"
	Setup = "setup"
)

// Bounds of a run.
const (
	MaxClients  = 10_000
	MaxRate     = 10_000_000
	MaxDuration = time.Hour
	MinSize     = headerSize
	MaxSize     = 9000
	MaxBatch    = 1024
)

// ErrConfig says that a Config asks for what cannot be.
var ErrConfig = errors.New("impossible load")

// Config is one run.
type Config struct {
	Server    string // host:port
	Transport string // udp, tcp or tls between the clients and the server; the server's certificate is not checked
	// Either Secret, which the TURN REST credentials are made with, a new Node id for each client,
	// or Username and Password for all of them.
	Secret             string
	Username, Password string

	Direction string // Up, Down, Echo, Back or Setup
	Clients   int
	Size      int           // payload bytes of a datagram
	Rate      int           // datagrams per second of all clients together; 0: as fast as possible
	Warmup    time.Duration // traffic before the measurement
	Duration  time.Duration // of the measurement; with Setup: how long the allocations are held
	Batch     int           // datagrams per system call at most; 32 where 0
	Burst     int           // datagrams that a paced client sends at once; 0: as many as keep it at 500 wake-ups a second
	Senders   int           // goroutines that send, each for its share of the clients in turn, so that many send when few would; 0: one for each client
	Together  bool          // clients send at the same moments, in bursts, instead of evenly spread
	Dialers   int           // allocations that are opened at the same time; 1 where 0
	Peer      string        // local address of the peers; empty: the one that leads to the server's relays
	Hosts     netip.Prefix  // IPv4 addresses of this machine, one for each client and peer, which share a socket for each sender; not valid: sockets of their own
	PID       int           // the server's process on this machine; 0: not accounted
	Threads   []int         // with PID: threads of the kernel that take what arrives for it, accounted beside it
	Beyond    []int         // with PID: those that take what it has sent, accounted apart from them
	Progress  func(string)  // told what is being done; may be nil
}

// Validate sets the defaults and reports what is wrong. Run calls it.
func (c *Config) Validate() error {
	if c.Batch == 0 {
		c.Batch = 32
	}
	if c.Dialers == 0 {
		c.Dialers = 1
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	_, _, err := net.SplitHostPort(c.Server)
	check(err == nil, "server %q is not host:port", c.Server)
	check(c.Transport == "udp" || c.Transport == "tcp" || c.Transport == "tls", "transport %q: udp, tcp or tls", c.Transport)
	check(slices.Contains([]string{Up, Down, Echo, Back, Setup}, c.Direction),
		"direction %q: up, down, echo, back or setup", c.Direction)
	check(c.Secret != "" || c.Username != "", "neither a secret nor a user name to allocate with")
	within := func(what string, v, least, most int) {
		check(v >= least && v <= most, "%s %d: %d to %d", what, v, least, most)
	}
	within("clients", c.Clients, 1, MaxClients)
	within("size", c.Size, MinSize, MaxSize)
	within("rate", c.Rate, 0, MaxRate)
	within("batch", c.Batch, 1, MaxBatch)
	within("burst", c.Burst, 0, MaxBatch)
	within("senders", c.Senders, 0, MaxClients)
	within("dialers", c.Dialers, 1, 256)
	check(c.Duration >= 0 && c.Duration <= MaxDuration && c.Warmup >= 0 && c.Warmup <= MaxDuration,
		"durations are 0 to %v", MaxDuration)
	check(c.Direction == Setup || c.Duration >= 10*time.Millisecond, "a measurement of %v is too short", c.Duration)
	if c.Peer != "" {
		_, err := netip.ParseAddr(c.Peer)
		check(err == nil, "peer %q is no address", c.Peer)
	}
	if c.Hosts.IsValid() {
		check(c.Transport == "udp" && c.Peer == "" && c.Hosts.Addr().Is4() && 2*c.Clients <= 1<<(32-c.Hosts.Bits()),
			"hosts %s: want an IPv4 network with two addresses for each client, udp, and no address for peers", c.Hosts)
	}
	return errors.Join(errs...)
}

// run is what the goroutines of one measurement share.
type run struct {
	Config
	id       uint32 // in every datagram, so that a stray one is not counted
	origin   time.Time
	from, to int64 // the measurement, in ns after origin; set before traffic starts

	stopped  atomic.Bool
	sendErrs atomic.Int64
	lastErr  atomic.Pointer[error]
	slow     atomic.Bool // a sender could not keep the pace

	crowd *crowd // with Hosts

	mu    sync.Mutex
	tally tally
}

func (r *run) now() int64 { return int64(time.Since(r.origin)) }

// Run opens the allocations, runs the traffic, gives the allocations back and reports. It ends early, with an error,
// when ctx does.
func Run(ctx context.Context, c Config) (*Result, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var id [4]byte
	_, _ = rand.Read(id[:])
	r := &run{Config: c, id: binary.BigEndian.Uint32(id[:]), origin: time.Now()}
	res := &Result{
		Server: c.Server, Transport: c.Transport, Direction: c.Direction, Clients: c.Clients, Size: c.Size, Rate: c.Rate,
	}
	before, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	if c.Hosts.IsValid() {
		if err := r.hosts(); err != nil {
			return nil, err
		}
		defer r.crowd.close()
	}
	c.Progress(fmt.Sprintf("opening %d allocations over %s at %s", c.Clients, c.Transport, c.Server))
	clients, took, err := r.open(ctx)
	defer func() { release(clients) }()
	if err != nil {
		return nil, err
	}
	after, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	res.setup(took, before, after, c)
	if c.Direction == Setup {
		return res, wait(ctx, c.Duration)
	}
	return res, r.traffic(ctx, clients, res)
}

// snapshot is the cost of the server and of this process so far.
type snapshot struct {
	at          time.Time
	server, own time.Duration
	kernel      time.Duration
	beyond      time.Duration
	rss         int64
}

func (r *run) snapshot() (s snapshot, err error) {
	s.at = time.Now()
	s.own, _ = proc.CPU(os.Getpid()) // elsewhere than on Linux the result goes without it
	if r.PID == 0 {
		return s, nil
	}
	if s.server, err = proc.CPU(r.PID); err != nil {
		return s, err
	}
	if s.kernel, err = threads(r.Threads); err != nil {
		return s, err
	}
	if s.beyond, err = threads(r.Beyond); err != nil {
		return s, err
	}
	s.rss, err = proc.RSS(r.PID)
	return s, err
}

// threads is what threads have spent so far, together.
func threads(all []int) (sum time.Duration, err error) {
	for _, tid := range all {
		d, err := proc.Thread(tid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

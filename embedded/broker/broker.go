// Package broker is a CrolangP2P Broker inside the process: Nodes join it over a WebSocket, are told their RTC
// configuration, and reach each other through it. On the wire it is what the original is (Engine.IO 4 and Socket.IO 5 over
// one transport); who may do what is for a [Decider] to say.
//
// One goroutine serves a connection, and handles its messages one after the other, so that they stay in order; another runs
// only while something is to be written. One wheel has the timers of all. Nothing that a Node sends and no failure of Redis
// ends more than that Node's connection.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/replicas"
	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/places"
)

// maxWaiting bounds what waits for all Nodes together; beyond it the one furthest behind is let go.
const maxWaiting = 256 << 20

// Broker is made by New and served by Run. Its methods may be called at any time, from any goroutine.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	ln      net.Listener // nil: served by Handler alone
	strict  bool         // ln is on loopback
	set     atomic.Pointer[settings]
	start   time.Time
	ctx     context.Context //nolint:containedctx // ends with Run, for connections that Handler was given
	cancel  context.CancelFunc
	wheel   *wheel
	places  *places.Hall
	shared  *replicas.Replicas // nil: alone
	waiting atomic.Int64       // bytes in all outboxes
	counts  counters

	conns    sync.WaitGroup // connections, and requests that may become one
	draining atomic.Bool

	mu      sync.RWMutex
	stopped bool
	live    map[*conn]struct{}
	nodes   map[string]*conn // who holds an id here: joining, joined, or leaving
	sockets map[string]*conn // by socket id
}

// New validates cfg and binds the listener, if it has one. A Broker that is never Run must be closed with Close.
func New(cfg Config) (*Broker, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	set, err := newSettings(cfg.Settings)
	if err != nil {
		return nil, err
	}
	ln, err := bind(&cfg)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		cfg: cfg, log: cfg.Logger, ln: ln, start: time.Now(),
		wheel:   newWheel(cfg.timing.tick),
		places:  places.New(set.Limits.Connections, set.Limits.Connections, set.Limits.ConnectionsPerIP),
		live:    map[*conn]struct{}{},
		nodes:   map[string]*conn{},
		sockets: map[string]*conn{},
	}
	b.apply(set)
	if ln != nil {
		if addr, ok := ln.Addr().(*net.TCPAddr); ok {
			b.strict = addr.IP.IsLoopback()
		}
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if cfg.Redis != nil {
		set := replicas.Config{Client: cfg.Redis, TTL: cfg.LockTTL, Timeout: cfg.timing.redis, Deliver: b.deliverShared, Logger: cfg.Logger}
		if cfg.Peers != nil {
			set.Gone = cfg.Peers.Gone
		}
		b.shared = replicas.New(set)
	}
	return b, nil
}

// Prepare checks other settings. Nothing changes until the change is applied. The error is an ErrConfig.
func (b *Broker) Prepare(next Settings) (change.Change, error) {
	set, err := newSettings(next)
	if err != nil {
		return change.Change{}, err
	}
	return change.New(func() { b.apply(set) }, nil), nil
}

func (b *Broker) apply(set *settings) {
	b.set.Store(set)
	b.places.Resize(set.Limits.Connections)
	b.places.Limit(set.Limits.ConnectionsPerIP)
}

// Limits are those that hold, defaults filled in.
func (b *Broker) Limits() Limits { return b.set.Load().Limits }

// Addr is the bound address, nil if there is none.
func (b *Broker) Addr() net.Addr {
	if b.ln == nil {
		return nil
	}
	return b.ln.Addr()
}

// Close releases the listener of a Broker that is not Run.
func (b *Broker) Close() error {
	b.cancel()
	if b.ln == nil {
		return nil
	}
	return b.ln.Close()
}

// Handler serves Nodes on another listener. What it upgrades outlives the http.Server: Run ends and waits for it.
func (b *Broker) Handler() http.Handler { return http.HandlerFunc(b.serveHTTP) }

// Drain has newcomers told to try again from now on (503), while those who have joined stay.
func (b *Broker) Drain() { b.draining.Store(true) }

// LetGo does what Drain does, and sends those away who have joined (41), so that they look for another Broker, or for this one
// when it is started anew. It does not wait for them.
func (b *Broker) LetGo() {
	b.Drain()
	b.mu.RLock()
	all := make([]*conn, 0, len(b.live))
	for c := range b.live {
		all = append(all, c)
	}
	b.mu.RUnlock()
	for _, c := range all {
		c.end(0, "the Broker stops")
	}
}

// Run serves until ctx ends. Then newcomers are told to try again, every Node is sent 41 and its TCP connection ended, its
// lock is released, and Run returns when all that it started has ended: nil if ctx ended it.
func (b *Broker) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var own sync.WaitGroup
	own.Go(func() { b.wheel.run(running) })
	own.Go(func() { b.check(running) })
	if b.shared != nil {
		own.Go(func() { b.shared.Run(running) })
	}
	failed := make(chan error, 1)
	server := &http.Server{
		Handler:           http.HandlerFunc(b.serveHTTP),
		ReadHeaderTimeout: b.cfg.timing.handshake,
		IdleTimeout:       b.cfg.timing.handshake,
		MaxHeaderBytes:    12 << 10, // net/http adds 4 KiB: 16 KiB, as Node.js
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ConnContext:       connContext,
	}
	if b.ln != nil {
		own.Go(func() { failed <- server.Serve(&listener{Listener: b.ln, b: b}) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	b.Drain()
	b.endAll()
	if b.ln != nil {
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = server.Shutdown(last) // answers under way
		cancel()
		server.Close()
	}
	stop()
	own.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// endAll says goodbye to everybody and waits, within StopTimeout, for it to be heard.
func (b *Broker) endAll() {
	b.mu.Lock()
	b.stopped = true // nobody who passed Drain before can join any more
	all := make([]*conn, 0, len(b.live))
	for c := range b.live {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		c.end(0, "the Broker stops")
	}
	b.cancel() // those who still join are told to try again
	gone := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer close(gone)
		b.conns.Wait()
	})
	timer := time.NewTimer(b.cfg.StopTimeout)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
		for _, c := range all {
			c.drop("the Broker stops")
		}
	}
	waiting.Wait()
}

// newSID makes the id of a socket, which names this Broker where others know it.
func (b *Broker) newSID() string {
	if b.cfg.Peers == nil {
		return replicas.NewSID("")
	}
	return replicas.NewSID(b.cfg.Peers.Self())
}

// relieve lets the Node go that has most waiting, since all of them have too much.
func (b *Broker) relieve() {
	b.mu.RLock()
	var behind *conn
	most := 0
	for c := range b.live {
		c.out.mu.Lock()
		if c.out.waiting > most && !c.out.last {
			behind, most = c, c.out.waiting
		}
		c.out.mu.Unlock()
	}
	b.mu.RUnlock()
	if behind != nil {
		b.counts.unread.Add(1)
		behind.drop("it did not read what it was sent, and others do not either")
	}
}

// Package redis is a Redis inside the process, for development: what Brokers need of one (locks with a time to live,
// publish and subscribe), what the machines of a fleet need (hashes, a stream) and what a developer likes to look with.
//
// miniredis keeps the keys. It was made for tests, where nobody sends a length of nine quintillion, so nothing of a
// client reaches it unseen: this package has the listener, parses every command within limits, knows which commands it
// offers, bounds memory and connections, and does publish and subscribe by itself, since there a subscriber that does
// not read would stop everybody.
package redis

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// ErrConfig is returned by [New] if a limit is negative.
var ErrConfig = errors.New("redis configuration")

// Defaults of Config.
const (
	DefaultMaxConns           = 256
	DefaultMaxUnauthenticated = 64
	DefaultMaxMemory          = 64 << 20
	DefaultMaxCommand         = 32 << 20
	DefaultAuthTimeout        = 10 * time.Second
	DefaultCommandTimeout     = time.Minute
	DefaultWriteTimeout       = time.Minute
)

// Config says where the server listens and within which limits it stays. Zero limits are the defaults.
type Config struct {
	Listen   string           // as listen.Parse reads it
	Listener *net.TCPListener // used in place of Listen if set; Run closes it
	Password string           // empty: none is asked for

	MaxConns           int   // connections; the next one is refused
	MaxUnauthenticated int   // of them without AUTH, with a Password; the oldest gives way
	MaxMemory          int64 // bytes of keys, values and subscriptions, estimated; further ones are refused
	MaxCommand         int   // bytes of one command, all arguments together

	AuthTimeout    time.Duration // from the connection to a right AUTH, with a Password
	CommandTimeout time.Duration // from the first byte of a command to its last
	WriteTimeout   time.Duration // for which a client may leave what it was sent unread

	// Now is the clock by which keys expire; nil: time.Now.
	Now func() time.Time
	// Logger takes what an operator should know; nil: none.
	Logger *slog.Logger
}

// Stats are counts since the start, and what there is now.
type Stats struct {
	Clients     int    // connected now
	Keys        int    // live now
	Memory      int64  // bytes, an upper estimate
	Connections uint64 // accepted
	Commands    uint64 // executed

	// Refused are connections, by cause: there was no place for them (full), they gave way to newer ones before they had
	// given the password (displaced), did not keep a deadline (slow), broke the protocol (malformed), did not read (unread),
	// or were cut off by a mistake in the program (panicked).
	Refused map[string]uint64
	// RefusedCommands are commands, by cause: the password was wrong or not given (password), they are not offered
	// (unknown), there was no memory (memory), or a mistake in the program cost all keys (panicked).
	RefusedCommands map[string]uint64
}

// Server is the embedded Redis.
type Server struct {
	cfg     Config
	secret  [32]byte // of the password
	ln      net.Listener
	started time.Time
	buffers budget // input and output of all clients that is more than a little

	store  *store
	pubsub *pubsub
	counts counters
	wg     sync.WaitGroup // clients

	mu      sync.Mutex
	closed  bool
	nextID  int64
	clients map[int64]*client
	unauth  []*client // oldest first
}

// New binds the listener. Connections wait until Run runs.
func New(cfg Config) (*Server, error) {
	if cfg.MaxConns < 0 || cfg.MaxUnauthenticated < 0 || cfg.MaxMemory < 0 || cfg.MaxCommand < 0 ||
		cfg.AuthTimeout < 0 || cfg.CommandTimeout < 0 || cfg.WriteTimeout < 0 {
		return nil, fmt.Errorf("%w: a limit is negative", ErrConfig)
	}
	cfg.MaxConns = cmp.Or(cfg.MaxConns, DefaultMaxConns)
	cfg.MaxUnauthenticated = min(cmp.Or(cfg.MaxUnauthenticated, DefaultMaxUnauthenticated), cfg.MaxConns)
	cfg.MaxMemory = cmp.Or(cfg.MaxMemory, DefaultMaxMemory)
	cfg.MaxCommand = cmp.Or(cfg.MaxCommand, DefaultMaxCommand)
	cfg.AuthTimeout = cmp.Or(cfg.AuthTimeout, DefaultAuthTimeout)
	cfg.CommandTimeout = cmp.Or(cfg.CommandTimeout, DefaultCommandTimeout)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, DefaultWriteTimeout)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}

	st, err := newStore(cfg.MaxMemory, cfg.Now, cfg.Logger)
	if err != nil {
		return nil, err
	}
	var ln net.Listener = cfg.Listener
	if cfg.Listener == nil {
		if ln, err = listen.TCP(cfg.Listen); err != nil {
			st.close()
			return nil, fmt.Errorf("redis.listen: %w", err)
		}
	}
	s := &Server{
		cfg:     cfg,
		secret:  sha256.Sum256([]byte(cfg.Password)),
		ln:      ln,
		started: cfg.Now(),
		buffers: budget{max: bufferFactor * int64(cfg.MaxCommand)},
		store:   st,
		clients: map[int64]*client{},
	}
	s.pubsub = newPubsub()
	return s, nil
}

// Run serves until ctx ends; then it closes the listener and every connection, waits for all of them, and returns nil.
// It is called once; with a ctx that has ended it releases what New had bound.
func (s *Server) Run(ctx context.Context) error {
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		s.accept(ctx)
	}()
	sweep := time.NewTicker(time.Second)
	defer sweep.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-sweep.C:
			s.store.sweep()
		}
	}
	s.ln.Close()
	<-accepting
	s.closeAll()
	s.wg.Wait()
	s.store.close()
	return nil
}

// accept goes on when Accept fails: descriptors run out and come back.
func (s *Server) accept(ctx context.Context) {
	var wait time.Duration
	for {
		conn, err := s.ln.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				conn.Close()
			}
			return
		case err != nil:
			if wait == 0 {
				s.cfg.Logger.Warn("redis cannot accept connections, trying on: raise the limit of open files", "error", err)
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		default:
			wait = 0
			s.admit(conn)
		}
	}
}

// admit serves conn, unless there are too many.
func (s *Server) admit(conn net.Conn) {
	s.counts.connections.Add(1)
	s.mu.Lock()
	if s.closed || len(s.clients) >= s.cfg.MaxConns {
		s.mu.Unlock()
		s.counts.refused.full.Add(1)
		// The kernel takes these few bytes; the deadline is for a full buffer.
		if conn.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
			_, _ = conn.Write([]byte("-ERR max number of clients reached\r\n"))
		}
		conn.Close()
		return
	}
	s.nextID++
	c := newClient(s, conn, s.nextID)
	s.clients[c.id] = c
	var oldest *client
	if !c.authenticated {
		if len(s.unauth) >= s.cfg.MaxUnauthenticated {
			oldest, s.unauth = s.unauth[0], s.unauth[1:]
		}
		s.unauth = append(s.unauth, c)
	}
	s.wg.Add(1)
	s.mu.Unlock()

	if oldest != nil {
		s.counts.refused.displaced.Add(1)
		oldest.kill()
	}
	go func() {
		defer s.wg.Done()
		defer s.release(c)
		c.serve()
	}()
}

// release forgets c, which has ended.
func (s *Server) release(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c.id)
	s.leaveUnauth(c)
}

// welcome: c has given the password.
func (s *Server) welcome(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveUnauth(c)
}

func (s *Server) leaveUnauth(c *client) {
	for i, u := range s.unauth {
		if u == c {
			s.unauth = append(s.unauth[:i], s.unauth[i+1:]...)
			return
		}
	}
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.clients {
		c.kill()
	}
}

// noRoom is said to a client whose command or reply finds none.
const noRoom = "out of buffer memory, other clients send too much or do not read"

// room takes n bytes of the buffers that all clients share. When there are none left, the client that is furthest
// behind with reading goes.
func (s *Server) room(n int) bool {
	for !s.buffers.take(n) {
		slow := s.furthestBehind()
		if slow == nil {
			return false
		}
		s.counts.refused.unread.Add(1)
		slow.kill()
	}
	return true
}

// furthestBehind is the client with most unread output. One that has a single message to read, however long, is not
// behind.
func (s *Server) furthestBehind() *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *client
	most := 0
	for _, c := range s.clients {
		if bytes, frames := c.out.pending(); bytes > most && frames > 1 {
			found, most = c, bytes
		}
	}
	return found
}

// frame is data for clients' outboxes, held by the caller; nil when there is no room for it.
func (s *Server) frame(data []byte) *frame {
	f := &frame{data: data, buffers: &s.buffers}
	if len(data) > freeFrame {
		if !s.room(len(data)) {
			return nil
		}
		f.taken = len(data)
	}
	f.hold()
	return f
}

// push queues f for c, and ends c when that is too much.
func (s *Server) push(c *client, f *frame) {
	if !c.out.put(f) {
		s.counts.refused.unread.Add(1)
		c.kill()
	}
}

// Addr is the address that is listened on, with the port that was found for 0.
func (s *Server) Addr() *net.TCPAddr { return s.ln.Addr().(*net.TCPAddr) }

// Clients is the number of connections.
func (s *Server) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	keys, memory := s.store.size()
	st := Stats{
		Clients:     s.Clients(),
		Keys:        keys,
		Memory:      memory,
		Connections: s.counts.connections.Load(),
		Commands:    s.counts.commands.Load(),
	}
	st.Refused, st.RefusedCommands = s.counts.refused.byCause()
	st.RefusedCommands["panicked"] = s.store.panics.Count()
	return st
}

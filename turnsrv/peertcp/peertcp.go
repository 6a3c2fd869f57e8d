// Package peertcp is the peers' side of TCP relays (RFC 6062): the listener at a relayed transport address, the
// connections that peers make to it and those that are made from it, until a client's data connection is bound to one and
// bytes pass both ways.
//
// Nothing is read from a peer before that, so that TCP itself makes it wait; afterwards each direction has one piece of
// at most [Piece] bytes on its way, and whoever does not read makes the other wait. An [Endpoint] owns all goroutines and
// sockets of its address: when [Endpoint.Close] returns, they have ended, and no byte passes any more.
//
// Who may connect, and how fast, is decided by whoever made the Endpoint.
package peertcp

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// What an Endpoint may have, and for how long.
const (
	// MaxConns is how many connections to peers an Endpoint may have, whatever has become of them: being made, waiting
	// for their client, or in use.
	MaxConns = 64
	// Piece is how many bytes are read before they are written.
	Piece = 16 << 10
	// Patience is how long an attempt to connect may take, and how long a connection waits for its client (RFC 6062
	// §5.2 and §5.3).
	Patience = 30 * time.Second
	// Stalled is how long whoever a piece is for may take to take it.
	Stalled = 5 * time.Minute
	// Linger is how long one direction may be silent when the other has ended.
	Linger = time.Minute

	// ConnCost is what a connection takes of a Budget, in bytes: what it may keep while nobody reads.
	ConnCost = 128 << 10

	backlog = 16 // connections that the kernel has made and nobody has accepted yet
)

// Errors of Connect.
var (
	ErrExists = errors.New("there is a connection with this peer already")
	ErrFull   = errors.New("no more connections with peers for this allocation")
	ErrFiles  = errors.New("too many files are open, and the last ones are not for connections with peers: raise the limit of open files")
	ErrBudget = errors.New("no more memory for what is kept of this client's Node")
	ErrClosed = errors.New("the relayed transport address is given up")
	// ErrUnsupported is of Listen, where the system cannot connect from an address that it listens on.
	ErrUnsupported = errors.New("TCP relays need a system that can connect from a port on which it listens")
	// ErrForbidden is of Listen, for a port that this process will never get.
	ErrForbidden = errors.New("the port is not for this user")

	errTimeout = errors.New("the peer did not answer in time")
	errRefused = errors.New("the peer's relay does not let it in")
	errCut     = errors.New("the connection was cut")
)

// Config configures an Endpoint. Its functions are called from any goroutine, must be quick, and must not close the
// Endpoint.
type Config struct {
	Addr  netip.AddrPort // to bind
	Hub   *Hub
	Owner any // for Hub.Claim
	// Budget is charged for connections.
	Budget Budget
	Files  int // descriptors that may be open for another connection to be taken; 0: any number

	// Now is the time in nanoseconds on a clock of the owner's, on which Sweep is called too.
	Now func() int64
	// Accept reports whether a peer may connect; local: it is a relay of this server.
	Accept func(from netip.AddrPort, local bool) bool
	// Refused is told of a connection that Accept lets in, and for which there is no place.
	Refused func()
	// Came is told of a connection that a peer has made, which waits for its client.
	Came func(from netip.AddrPort, id uint32)
	// Pace takes n bytes of a direction from what may pass now and returns 0, or how long to wait before asking again.
	Pace func(up bool, n int) time.Duration
	// Passed counts n bytes that have been passed on.
	Passed func(up bool, n int)
	// Panicked is called by the deferred function that recovered what a goroutine of the Endpoint panicked with.
	Panicked func(cause any)
}

// Budget bounds what is kept in memory.
type Budget interface {
	Take(bytes int64) bool
	Give(bytes int64)
}

// Client is a client's data connection.
type Client interface {
	// Write waits until all of b has been taken, or the connection has ended.
	Write(b []byte) error
	// CloseWrite tells the client that nothing more comes.
	CloseWrite() error
	// Abort ends the connection at once: what has not left this machine is dropped. It may be called at any time, any
	// number of times.
	Abort()
}

// Hub finds the connections of all Endpoints that wait for their client, by CONNECTION-ID. The zero value is ready.
type Hub struct {
	mu  sync.Mutex
	ids map[uint32]*Conn
}

// add gives c an id that cannot be guessed in a few tries.
func (h *Hub) add(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ids == nil {
		h.ids = make(map[uint32]*Conn)
	}
	for c.id == 0 || h.ids[c.id] != nil {
		c.id = rand.Uint32()
	}
	h.ids[c.id] = c
}

func (h *Hub) remove(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ids[c.id] == c {
		delete(h.ids, c.id)
	}
}

// Owner returns [Config.Owner] of the connection with that id which waits for its client, or nil.
func (h *Hub) Owner(id uint32) any {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.ids[id]; c != nil {
		return c.e.cfg.Owner
	}
	return nil
}

// Claim returns the connection with that id if it waits for its client and may, asked about [Config.Owner], does not
// object. Nobody else gets it then. The caller calls [Conn.Start], or [Conn.Close].
func (h *Hub) Claim(id uint32, may func(owner any) bool) *Conn {
	h.mu.Lock()
	c := h.ids[id]
	if c != nil && may(c.e.cfg.Owner) {
		delete(h.ids, id)
	} else {
		c = nil
	}
	h.mu.Unlock()
	if c == nil || !c.claim() {
		return nil
	}
	return c
}

// Waiting is how many connections wait for their client.
func (h *Hub) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ids)
}

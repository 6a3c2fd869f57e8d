package webguard

import (
	"context"
	"net"
	"sync"
)

// Inlet is a listener whose connections somebody else accepts and then offers it. Its methods are safe for concurrent use.
type Inlet struct {
	offered chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// NewInlet makes an Inlet, for the Listener of a [Config].
func NewInlet() *Inlet {
	return &Inlet{offered: make(chan net.Conn), closed: make(chan struct{})}
}

// Offer waits until c is accepted, and reports whether it was: not if ctx ends before, or the Inlet is closed. c stays the
// caller's then.
func (i *Inlet) Offer(ctx context.Context, c net.Conn) bool {
	select {
	case i.offered <- c:
		return true
	case <-i.closed:
	case <-ctx.Done():
	}
	return false
}

// Accept implements [net.Listener].
func (i *Inlet) Accept() (net.Conn, error) {
	select {
	case c := <-i.offered:
		return c, nil
	case <-i.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. Nothing is accepted any more.
func (i *Inlet) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr implements [net.Listener]: there is no address of its own.
func (i *Inlet) Addr() net.Addr { return &net.TCPAddr{} }

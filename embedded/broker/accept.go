package broker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/places"
)

// listener gives each connection of the own listener a place before a byte of it is read. Those of trusted proxies are
// counted later, when it is known for whom they come.
type listener struct {
	net.Listener

	b *Broker
}

// Accept goes on when accepting fails: descriptors run out and come back.
func (l *listener) Accept() (net.Conn, error) {
	var wait time.Duration
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if l.b.ctx.Err() != nil || !temporary(err) {
				return nil, err
			}
			if wait == 0 {
				l.b.log.Warn("the Broker cannot accept connections, trying on: raise the limit of open files", "error", err)
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-l.b.ctx.Done():
				timer.Stop()
			}
			continue
		}
		wait = 0
		at, _ := netip.ParseAddrPort(nc.RemoteAddr().String())
		d := &door{Conn: nc, hall: l.b.places}
		if from := at.Addr().Unmap(); !l.b.trusted(from) {
			if d.place = l.b.seat(from, d.evict); d.place == nil {
				nc.Close() // a Node tries again after that
				continue
			}
		}
		return d, nil
	}
}

// seat finds a place for a connection from addr, nil if there is none. evict ends the connection if another needs the place.
func (b *Broker) seat(addr netip.Addr, evict func()) *places.Seat {
	seat, away, verdict := b.places.Take(addr, false, evict)
	if away != nil {
		b.counts.displaced.Add(1)
		away.Leave()
	}
	switch verdict {
	case places.OverShare:
		b.counts.overShare.Add(1)
	case places.Full:
		b.counts.full.Add(1)
	}
	return seat
}

func temporary(err error) bool {
	var ne interface{ Temporary() bool }
	return errors.As(err, &ne) && ne.Temporary()
}

// door is a connection before it is a Node's: it has a place, which it passes on at the handshake.
type door struct {
	net.Conn

	hall   *places.Hall
	mu     sync.Mutex
	place  *places.Seat
	onward func()
}

// evict ends whatever has the place by now.
func (d *door) evict() {
	d.mu.Lock()
	onward := d.onward
	d.mu.Unlock()
	if onward != nil {
		onward()
	}
	d.Conn.Close()
}

// pass hands the place on; nil if it is gone already.
func (d *door) pass(evict func()) *places.Seat {
	d.mu.Lock()
	defer d.mu.Unlock()
	pl := d.place
	d.place, d.onward = nil, evict
	return pl
}

// Close gives the place back, unless it was passed on.
func (d *door) Close() error {
	d.mu.Lock()
	pl := d.place
	d.place = nil
	d.mu.Unlock()
	if pl != nil {
		d.hall.Release(pl)
	}
	return d.Conn.Close()
}

// CloseWrite ends the own half of the connection.
func (d *door) CloseWrite() error {
	if half, ok := d.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type doorKey struct{}

func connContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, doorKey{}, nc)
}

// ownRequest reports whether a request came through the own listener.
func ownRequest(r *http.Request) bool {
	_, ok := r.Context().Value(doorKey{}).(*door)
	return ok
}

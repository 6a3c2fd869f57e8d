// Package slowline relays TCP connections and lets every byte take its time: what netem does where a kernel has it. It is
// for tests and benchmarks.
package slowline

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxOnTheLine is how many pieces are on their way in one direction before the sender has to wait.
const maxOnTheLine = 1024

// Line is a relay on loopback. Make it with New; its owner closes it.
type Line struct {
	listener  net.Listener
	to, from  string
	roundTrip time.Duration
	ctx       context.Context
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// New relays from a port of its own on 127.0.0.1 to the address to, with the given round trip, the connection's own
// included. It connects from the IP address from; empty for any.
func New(to, from string, roundTrip time.Duration) (*Line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the slow line to %s: %w", to, err)
	}
	l := &Line{listener: listener, to: to, from: from, roundTrip: roundTrip}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.running.Go(l.accept)
	return l, nil
}

// Addr is where clients connect to.
func (l *Line) Addr() string { return l.listener.Addr().String() }

// Close ends every connection and waits for that.
func (l *Line) Close() error {
	l.stop()
	err := l.listener.Close()
	l.running.Wait()
	return err
}

func (l *Line) accept() {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() {
			defer c.Close()
			l.carry(c)
		})
	}
}

func (l *Line) carry(client net.Conn) {
	select {
	case <-time.After(l.roundTrip): // what the connection takes
	case <-l.ctx.Done():
		return
	}
	var d net.Dialer
	if l.from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(l.from)}
	}
	server, err := d.DialContext(l.ctx, "tcp", l.to)
	if err != nil {
		return
	}
	end := func() {
		_ = client.Close()
		_ = server.Close()
	}
	defer end()
	defer context.AfterFunc(l.ctx, end)()
	var both sync.WaitGroup
	both.Go(func() {
		defer end()
		delay(server, client, l.roundTrip/2)
	})
	both.Go(func() {
		defer end()
		delay(client, server, l.roundTrip/2)
	})
	both.Wait()
}

// piece is some bytes on the line.
type piece struct {
	b   []byte
	due time.Time
}

// delay copies until one of the two ends, and holds every piece back for d.
func delay(to io.Writer, from io.Reader, d time.Duration) {
	line := make(chan piece, maxOnTheLine)
	over := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(line)
		for {
			b := make([]byte, 4<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			select {
			case line <- piece{b[:n], time.Now().Add(d)}:
			case <-over:
				return
			}
		}
	})
	for p := range line {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.b); err != nil {
			break
		}
	}
	close(over) // the reader ends when its connection is closed
}

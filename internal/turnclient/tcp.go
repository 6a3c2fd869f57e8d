package turnclient

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// TCP relays (RFC 6062), for clients over TCP and TLS.

// What REQUESTED-TRANSPORT asks for.
const (
	protocolTCP = 6
	protocolUDP = 17
)

const attemptsKept = 256

// Attempt is a connection that a peer has made to the relayed address, and that waits for [Client.Join].
type Attempt struct {
	Peer netip.AddrPort
	ID   uint32
}

// AllocateTCP is Allocate for a TCP relay.
func (c *Client) AllocateTCP(ctx context.Context, more func(*stunmsg.Builder)) (Allocation, error) {
	return c.allocate(ctx, protocolTCP, more)
}

// Connect has the server connect to a peer, and returns the id for [Client.Join].
func (c *Client) Connect(ctx context.Context, peer netip.AddrPort) (id uint32, err error) {
	m, err := c.Do(ctx, stunmsg.ConnectRequest, func(w *stunmsg.Builder) { w.XORAddr(stunmsg.AttrXORPeerAddress, peer) })
	if err != nil {
		return 0, err
	}
	v, ok := m.Get(stunmsg.AttrConnectionID)
	if !ok || len(v) != 4 {
		return 0, fmt.Errorf("the answer to Connect has no connection id: %w", ErrAnswer)
	}
	return binary.BigEndian.Uint32(v), nil
}

// Attempts is the queue of what peers have connected. Beyond 256 they are dropped.
func (c *Client) Attempts() <-chan Attempt { return c.attempts }

func (c *Client) queueAttempt(m *stunmsg.Message) {
	a, _ := m.Get(stunmsg.AttrXORPeerAddress)
	v, ok := m.Get(stunmsg.AttrConnectionID)
	peer, err := stunmsg.XORAddr(a, m.TransactionID())
	if err != nil || !ok || len(v) != 4 {
		return
	}
	select {
	case c.attempts <- Attempt{Peer: peer, ID: binary.BigEndian.Uint32(v)}:
	default:
		c.dropped.Add(1)
	}
}

// Join makes a connection of its own to the server and binds it to the one with a peer that has that id. What is written
// to it then goes to the peer as it is, and the other way round. The caller closes it.
func (c *Client) Join(ctx context.Context, id uint32) (net.Conn, error) {
	conn, err := dial(ctx, c.o)
	if err != nil {
		return nil, err
	}
	if err := c.join(conn, id); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

func (c *Client) join(conn net.Conn, id uint32) error {
	if err := conn.SetDeadline(time.Now().Add(c.o.Timeout)); err != nil {
		return err
	}
	data := &Client{o: c.o, conn: conn} // nobody reads on: what follows the answer is the peer's
	buf := make([]byte, 1<<16)
	for try := 0; ; try++ {
		raw := data.Build(stunmsg.ConnectionBindRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrConnectionID, id) })
		if _, err := conn.Write(raw); err != nil {
			return err
		}
		n, err := data.frame(buf)
		if err != nil {
			return err
		}
		var m stunmsg.Message
		if err := m.Parse(buf[:n]); err != nil {
			return err
		}
		err = asError(stunmsg.ConnectionBindRequest, &m)
		if Code(err) != 401 || try > 0 || !data.learn(&m, false) {
			return err
		}
	}
}

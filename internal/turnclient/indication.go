package turnclient

import (
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// PeerError is what the server says that ICMP said of a datagram to a peer (RFC 8656 §11.6).
type PeerError struct {
	Peer netip.AddrPort
	stunmsg.ICMP
}

// PeerErrors is what ICMP said. What nobody reads in time is dropped.
func (c *Client) PeerErrors() <-chan PeerError { return c.errors }

// indicated takes a Data indication: a peer's data, or what ICMP said.
func (c *Client) indicated(m *stunmsg.Message) {
	addr, _ := m.Get(stunmsg.AttrXORPeerAddress)
	peer, err := stunmsg.XORAddr(addr, m.TransactionID())
	if err != nil {
		return
	}
	if data, ok := m.Get(stunmsg.AttrData); ok {
		c.queue(Datagram{Peer: peer, Data: append([]byte(nil), data...)})
		return
	}
	v, _ := m.Get(stunmsg.AttrICMP)
	if e, ok := stunmsg.ParseICMP(v); ok {
		select {
		case c.errors <- PeerError{peer, e}:
		default:
		}
	}
}

func (c *Client) queue(d Datagram) {
	select {
	case c.data <- d:
	default:
		c.dropped.Add(1)
	}
}

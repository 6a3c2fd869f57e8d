package load

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// crowd is what Config.Hosts makes of clients and peers: each has an address of its own, and many share a socket. So what a
// receiver costs is the same for few and for many, as it is where each is a machine of its own: the system finds the same few
// sockets, and wakes the same few goroutines.
type crowd struct {
	r              *run
	clients, peers []*shared
}

// shared is a socket at one port of all addresses.
type shared struct {
	port    uint16
	conn    *net.UDPConn
	packets packets
}

// hosts makes the sockets of the peers, and finds ports for those of the clients. Those are made when all allocations have
// been opened, each by a socket of its own at its address.
func (r *run) hosts() (err error) {
	c := &crowd{r: r}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	var probes []*net.UDPConn
	for range min(max(r.Senders, 1), r.Clients) {
		client, peer := new(shared), new(shared)
		if err = errors.Join(client.open(), peer.open()); err != nil {
			return fmt.Errorf("opening the sockets that clients and peers share: %w", err)
		}
		c.clients, c.peers, probes = append(c.clients, client), append(c.peers, peer), append(probes, client.conn)
	}
	for i, p := range probes {
		err = errors.Join(err, p.Close())
		c.clients[i].conn = nil
	}
	r.crowd = c
	return err
}

// open makes the socket, at its port if it has one.
func (s *shared) open() error {
	u, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(s.port)})
	if err != nil {
		return err
	}
	s.conn, s.packets, s.port = u, batched(u), uint16(u.LocalAddr().(*net.UDPAddr).Port)
	return ipv4.NewPacketConn(u).SetControlMessage(ipv4.FlagDst, true)
}

// take makes the clients' sockets, and puts the clients in the order of their addresses.
func (c *crowd) take(clients []*client) (err error) {
	for _, s := range c.clients {
		err = errors.Join(err, s.open())
	}
	slices.SortFunc(clients, func(a, b *client) int { return cmp.Compare(a.index, b.index) })
	return err
}

func (c *crowd) close() {
	for _, s := range slices.Concat(c.clients, c.peers) {
		if s.conn != nil {
			_ = s.conn.Close()
		}
	}
}

// client is where the i-th client is, and peer where its peer is.
func (c *crowd) client(i int) netip.AddrPort { return c.at(2*i, c.clients) }
func (c *crowd) peer(i int) netip.AddrPort   { return c.at(2*i+1, c.peers) }

func (c *crowd) at(n int, of []*shared) netip.AddrPort {
	a := c.r.Hosts.Masked().Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(n))
	return netip.AddrPortFrom(netip.AddrFrom4(a), of[n/2%len(of)].port)
}

// index is the number of a client or peer that an address belongs to.
func (c *crowd) index(ip net.IP) (i int, ok bool) {
	four := ip.To4()
	if four == nil {
		return 0, false
	}
	first := c.r.Hosts.Masked().Addr().As4()
	i = int((binary.BigEndian.Uint32(four) - binary.BigEndian.Uint32(first[:])) / 2)
	return i, i < c.r.Clients
}

// from is the control message that has a datagram leave from an address.
func from(a netip.AddrPort) []byte { return (&ipv4.ControlMessage{Src: a.Addr().AsSlice()}).Marshal() }

// host is a client's connection in a crowd: it only writes.
type host struct {
	net.Conn // nil: nothing else is asked of it

	socket *shared
	server netip.AddrPort
	from   []byte
}

// Write implements [net.Conn].
func (h *host) Write(b []byte) (int, error) {
	if h.socket.conn == nil {
		return 0, net.ErrClosed
	}
	n, _, err := h.socket.conn.WriteMsgUDPAddrPort(b, h.from, h.server)
	return n, err
}

// Close implements [net.Conn]. The socket is the crowd's.
func (*host) Close() error { return nil }

// SetDeadline implements [net.Conn], for all that share the socket.
func (h *host) SetDeadline(t time.Time) error {
	if h.socket.conn == nil {
		return net.ErrClosed
	}
	return h.socket.conn.SetDeadline(t)
}

// join has a client be one of the crowd. Its own socket is closed: datagrams for it come to the one that it shares.
func (c *crowd) join(one *client) error {
	server := one.conn.RemoteAddr().(*net.UDPAddr).AddrPort()
	err := one.conn.Close()
	one.conn = &host{
		socket: c.clients[one.index%len(c.clients)], server: netip.AddrPortFrom(server.Addr().Unmap(), server.Port()), from: from(c.client(one.index)),
	}
	return err
}

// sender is run.sender's write for a client of the crowd.
func (c *crowd) sender(s *sender, one *client) {
	h, k := one.conn.(*host), one.index%len(c.clients)
	if c.r.fromPeer() {
		s.datagrams(c.peers[k].packets, 0, one.relayed, from(c.peer(one.index)))
	} else {
		s.datagrams(c.clients[k].packets, stunmsg.ChannelHeader, net.UDPAddrFromAddrPort(h.server), h.from)
	}
}

// receive starts the receivers of all.
func (c *crowd) receive(clients []*client, wg *sync.WaitGroup) {
	atPeer := c.r.atPeer()
	flows := make([]*flow, len(clients))
	takes := make([]func(b []byte, at int64), len(clients))
	for i := range flows {
		flows[i] = &flow{r: c.r}
		takes[i] = c.r.atClient(clients[i], flows[i])
	}
	done := func(k int) {
		for i := k; i < len(flows); i += len(c.clients) {
			flows[i].done()
		}
	}
	for k := range c.clients {
		wg.Go(func() {
			c.datagrams(c.clients[k].packets, func(i int, b []byte, at int64) { takes[i](b, at) })
			if !atPeer {
				done(k)
			}
		})
		switch {
		case atPeer:
			wg.Go(func() {
				c.datagrams(c.peers[k].packets, func(i int, b []byte, at int64) { flows[i].take(b, at) })
				done(k)
			})
		case c.r.Direction == Echo:
			wg.Go(func() { c.echo(c.peers[k].packets) })
		}
	}
}

// read is one ReadBatch with whom each datagram is for; -1: nobody.
func (c *crowd) read(p packets, ms []ipv4.Message, whom []int) (n int, err error) {
	n, err = p.ReadBatch(ms, 0)
	for i := range max(n, 0) {
		var m ipv4.ControlMessage
		whom[i] = -1
		if m.Parse(ms[i].OOB[:ms[i].NN]) == nil {
			if one, ok := c.index(m.Dst); ok {
				whom[i] = one
			}
		}
	}
	return max(n, 0), err
}

// messages are buffers with room for control messages.
func (c *crowd) messages() (ms []ipv4.Message, whom []int) {
	ms = c.r.buffers()
	for i := range ms {
		ms[i].OOB = ipv4.NewControlMessage(ipv4.FlagDst)
	}
	return ms, make([]int, len(ms))
}

// datagrams is run.datagrams of one shared socket.
func (c *crowd) datagrams(p packets, take func(i int, b []byte, at int64)) {
	ms, whom := c.messages()
	for {
		n, err := c.read(p, ms, whom)
		if err != nil && c.r.over(err) {
			return
		}
		at := c.r.now()
		for i := range n {
			if whom[i] >= 0 {
				take(whom[i], ms[i].Buffers[0][:ms[i].N], at)
			}
		}
	}
}

// echo is run.echo of one shared socket.
func (c *crowd) echo(p packets) {
	ms, whom := c.messages()
	answers := make([]ipv4.Message, 0, len(ms))
	for {
		n, err := c.read(p, ms, whom)
		if err != nil && c.r.over(err) {
			return
		}
		answers = answers[:0]
		for i := range n {
			if whom[i] >= 0 {
				b := ms[i].Buffers[0][:ms[i].N]
				answers = append(answers, ipv4.Message{Buffers: [][]byte{b}, OOB: from(c.peer(whom[i])), Addr: ms[i].Addr})
			}
		}
		if !c.r.writeAll(p, answers) {
			return
		}
	}
}

package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// The model says what RFC 8656 and Plane's own rules make of traffic. The same random traffic goes through whichever
// engine is built in ("go test", "go test -tags portable") and must come out as the model has it, datagram by
// datagram and in order: so both engines are compared with the model, and with each other.

type modelClient struct {
	index  int
	udp    *client
	stream *streamClient
	src    Source
	relay  *Relay // nil: none
	perms  map[netip.Addr]Scope
	chans  map[uint16]modelChannel
	family int
}

type modelChannel struct {
	peer  netip.AddrPort
	scope Scope
}

// arrival is one datagram that somebody must get.
type arrival struct {
	what string // "data from FROM", "channel N" or "indication from FROM"
	data []byte
}

type model struct {
	*world
	rng     *rand.Rand
	clients []*modelClient
	peers   []*endpoint
	serial  uint32
	atPeer  map[int][]arrival
	atUser  map[int][]arrival
}

func newModel(t *testing.T, seed uint64) *model {
	w := newWorld(t, func(c *Config) { c.PortMin, c.PortMax = 27300, 27315 })
	m := &model{world: w, rng: rand.New(rand.NewPCG(seed, 5))}
	for i, server := range []netip.AddrPort{w.udp4, w.udp4, w.udp6, netip.AddrPortFrom(loopback4, w.wild.Port())} {
		c := w.client(server)
		family := 4
		if i == 2 {
			family = 6
		}
		m.clients = append(m.clients, &modelClient{index: i, udp: c, src: c.src, family: family})
	}
	for _, tr := range []Transport{TCP, TLS} {
		c := w.streams(tr).client()
		m.clients = append(m.clients, &modelClient{index: len(m.clients), stream: c, src: c.src, family: 4})
	}
	for i := range 5 {
		ip := netip.AddrFrom4([4]byte{127, 0, 2, byte(i + 1)})
		if i >= 3 {
			ip = loopback6
		}
		m.peers = append(m.peers, newEndpoint(t, ip))
	}
	return m
}

func (m *model) payload() []byte {
	n := []int{0, 4, 5, 6, 7, 200, 200, 200, 1200, 1472, 3000}[m.rng.IntN(11)]
	if n < 4 {
		return nil
	}
	m.serial++
	return append(binary.BigEndian.AppendUint32(nil, m.serial), bytes.Repeat([]byte{byte(m.serial)}, n-4)...)
}

// address picks a peer: a socket of ours, or a relayed address, live or not.
func (m *model) address(family int) netip.AddrPort {
	for {
		a := m.peers[m.rng.IntN(len(m.peers))].addr
		if m.rng.IntN(3) == 0 {
			if c := m.clients[m.rng.IntN(len(m.clients))]; c.relay != nil {
				a = c.relay.Addr()
			}
		}
		if a.Addr().Is4() == (family == 4) {
			return a
		}
	}
}

// change does something to a client's relay, in the server and in the model.
func (m *model) change(c *modelClient) {
	if c.relay == nil {
		r, err := m.Open(c.src, OpenOptions{Family: c.family})
		if err != nil {
			m.Fatal(err)
		}
		c.relay, c.perms, c.chans = r, map[netip.Addr]Scope{}, map[uint16]modelChannel{}
		return
	}
	scope := [2]Scope{ScopeRelays, ScopeAny}[m.rng.IntN(2)]
	number := 0x4000 + uint16(m.rng.IntN(6))
	peer := m.address(c.family)
	switch n := m.rng.IntN(20); {
	case n == 0:
		c.relay.Close()
		c.relay = nil
	case n < 8:
		c.relay.permit(peer.Addr(), scope)
		c.perms[peer.Addr()] = max(c.perms[peer.Addr()], scope)
	case n < 10:
		c.relay.revoke(peer.Addr())
		delete(c.perms, peer.Addr())
	case n < 18:
		c.relay.bind(number, peer, scope)
		for k, v := range c.chans {
			if v.peer == peer {
				delete(c.chans, k)
			}
		}
		c.chans[number] = modelChannel{peer, scope}
	default:
		c.relay.unbind(number)
		delete(c.chans, number)
	}
}

// down notes what must come of data from a at c's relay.
func (m *model) down(c *modelClient, from netip.AddrPort, need Scope, data []byte) {
	have := c.perms[from.Addr()]
	for _, ch := range c.chans {
		if ch.peer == from {
			have = max(have, ch.scope)
		}
	}
	if have < need {
		return
	}
	for n, ch := range c.chans {
		if ch.peer == from {
			m.atUser[c.index] = append(m.atUser[c.index], arrival{fmt.Sprintf("channel %#x", n), data})
			return
		}
	}
	m.atUser[c.index] = append(m.atUser[c.index], arrival{"indication from " + from.String(), data})
}

// up notes what must come of data that c sends to a.
func (m *model) up(c *modelClient, to netip.AddrPort, scope Scope, data []byte) {
	for _, o := range m.clients {
		if o.relay != nil && o.relay.Addr() == to {
			m.down(o, c.relay.Addr(), ScopeRelays, data)
			return
		}
	}
	if scope != ScopeAny {
		return
	}
	for i, p := range m.peers {
		if p.addr == to {
			m.atPeer[i] = append(m.atPeer[i], arrival{"data from " + c.relay.Addr().String(), data})
		}
	}
}

// handled is how many datagrams for r's client were relayed or dropped.
func handled(r *Relay) uint64 {
	s := r.Stats().Down
	return s.Datagrams + s.Dropped - s.Drops[UntoldICMP]
}

// traffic sends one random burst from one socket, and notes what must come of it.
func (m *model) traffic() {
	if m.rng.IntN(3) == 0 {
		i := m.rng.IntN(len(m.peers))
		c := m.clients[m.rng.IntN(len(m.clients))]
		if c.relay == nil || c.relay.Addr().Addr().Is4() != m.peers[i].addr.Addr().Is4() {
			return
		}
		before, n := handled(c.relay), 1+m.rng.IntN(6)
		for range n {
			data := m.payload()
			m.peers[i].to(c.relay.Addr(), data)
			m.down(c, m.peers[i].addr, ScopeAny, data)
		}
		// What is dropped arrives nowhere: only the counters tell that it does not wait for a later permission.
		for deadline := time.Now().Add(10 * time.Second); handled(c.relay) < before+uint64(n); time.Sleep(100 * time.Microsecond) {
			if time.Now().After(deadline) {
				m.Fatalf("%d of %d datagrams to a relay were handled", handled(c.relay)-before, n)
			}
		}
		return
	}
	c := m.clients[m.rng.IntN(len(m.clients))]
	var whole []byte
	for range 1 + m.rng.IntN(6) {
		data := m.payload()
		var msg []byte
		if m.rng.IntN(3) > 0 {
			number := 0x4000 + uint16(m.rng.IntN(6))
			msg = channelData(number, data)
			if ch, ok := c.chans[number]; ok && c.relay != nil {
				m.up(c, ch.peer, ch.scope, data)
			}
		} else if c.relay != nil { // without a relay it would be the Handler's
			to := m.address(c.family)
			msg = sendIndication(to, data)
			s := c.perms[to.Addr()]
			for _, ch := range c.chans {
				if ch.peer == to {
					s = max(s, ch.scope)
				}
			}
			if s != 0 {
				m.up(c, to, s, data)
			}
		}
		if c.udp != nil && msg != nil {
			c.udp.send(msg)
		}
		whole = append(whole, padded(msg)...)
	}
	if c.stream != nil && len(whole) > 0 {
		c.stream.put(whole)
	}
}

// next is the next message to c that is no ICMP, which may come at any time of relays that have been closed.
func (c *modelClient) next() (b []byte) {
	for b == nil || isICMP(b) {
		if c.udp != nil {
			b, _ = c.udp.next()
		} else {
			b = c.stream.frame()
		}
	}
	return b
}

// check receives what must arrive, and a marker behind it.
func (m *model) check() {
	m.Helper()
	for i, want := range m.atPeer {
		for _, a := range want {
			b, from := m.peers[i].next()
			m.compare(fmt.Sprintf("peer %d", i), a, arrival{"data from " + from.String(), b})
		}
	}
	for _, c := range m.clients {
		for _, a := range m.atUser[c.index] {
			b := c.next()
			var got arrival
			if b[0]&0xf0 == 0x40 {
				n := int(binary.BigEndian.Uint16(b[2:]))
				got = arrival{fmt.Sprintf("channel %#x", binary.BigEndian.Uint16(b)), b[4 : 4+n]}
			} else {
				from, data := dataOf(m, b)
				got = arrival{"indication from " + from.String(), data}
			}
			m.compare(fmt.Sprintf("client %d", c.index), a, got)
		}
	}
	// Nothing more may be there: what each socket gets next is its own marker.
	for i, p := range m.peers {
		marker := []byte{0xff, byte(i)}
		p.to(p.addr, marker)
		p.expect(p.addr, marker)
	}
	for _, c := range m.clients {
		msg := binding()
		if c.udp != nil {
			c.udp.send(msg)
		} else {
			c.stream.put(msg)
		}
		if b := c.next(); !bytes.Equal(b, msg) {
			m.Fatalf("client %d got %x behind all else", c.index, b)
		}
	}
	m.atPeer, m.atUser = map[int][]arrival{}, map[int][]arrival{}
}

func (m *model) compare(who string, want, got arrival) {
	m.Helper()
	if want.what != got.what || !bytes.Equal(want.data, got.data) {
		m.Fatalf("%s got %s, %d bytes %.8x; want %s, %d bytes %.8x", who, got.what, len(got.data), got.data, want.what, len(want.data), want.data)
	}
}

func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			m.control.set(func(src Source, msg []byte) { src.Send(msg) })
			m.atPeer, m.atUser = map[int][]arrival{}, map[int][]arrival{}
			delivered := 0
			for range 150 {
				for range 1 + m.rng.IntN(4) {
					m.change(m.clients[m.rng.IntN(len(m.clients))])
				}
				// One burst at a time: between two senders there is no order to compare.
				for range 3 {
					m.traffic()
					for _, a := range m.atPeer {
						delivered += len(a)
					}
					for _, a := range m.atUser {
						delivered += len(a)
					}
					m.check()
				}
			}
			if delivered < 200 {
				t.Errorf("only %d datagrams were compared", delivered)
			}
		})
	}
}

//go:build linux && !portable

package relay

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// lump is how many bytes a worker takes at once from what there is for all.
const lump = 16 << 10

const (
	maxItems  = 512 // datagrams gathered before they are sent
	maxGroups = 64
	maxHeads  = 4 << 10 // bytes of Data indications' headers
	maxAddrs  = 64      // peers of Send indications
	maxMsgs   = 64      // messages for one call
	maxIovs   = 512
	maxSegs   = 64    // datagrams in one message (UDP_MAX_SEGMENTS of older kernels)
	maxSuper  = 65000 // bytes in one message of several datagrams
)

const (
	up = iota
	down
)

// item is one datagram on its way: what goes before its data, the data, and the padding behind it.
type item struct {
	data *byte
	head *byte
	dst  *peerAddr
	n    int32
	next int32 // in the group
	lead [stunmsg.ChannelHeader]byte
	hlen uint8
	pad  uint8
}

func (i *item) size() int { return int(i.hlen) + int(i.n) + int(i.pad) }

// group is what one relay has to send in one direction, in order.
type group struct {
	r           *Relay
	path        *path // to the client; nil: to peers
	way         int
	first, last int32
}

// sending describes the datagrams that a message carries.
type sending struct {
	r     *Relay
	path  *path // to the client; nil: to peers
	way   int
	first int32 // item
	count int
	bytes int // of payload
	size  int // of each datagram but the last
}

// tx gathers datagrams, relay by relay, and sends them with as few system calls as it can: one for all of a relay's
// datagrams to its peers, one for all clients of a listening socket, and datagrams of equal size to one address as a
// single message that the kernel splits (UDP_SEGMENT). Data stays where it was received; iovecs put headers before it.
type tx struct {
	plane  *Plane
	lane   *lane
	inside bool   // of lane
	at     *Relay // that it is at work for, or nil
	now    int64
	credit int // bytes taken from what there is for all, and not used yet
	gathered

	items   [maxItems]item
	nitems  int
	groups  [maxGroups]group
	ngroups int
	heads   [maxHeads]byte
	nheads  int
	addrs   [maxAddrs]peerAddr
	naddrs  int

	hdrs  [maxMsgs]mmsghdr
	what  [maxMsgs]sending
	nmsgs int
	iovs  [maxIovs + 3]unix.Iovec // refused needs three beyond those of the messages
	niovs int
	ctrls [maxMsgs]control
}

var zeros [4]byte

func (p *Plane) borrow(l *lane) *tx {
	t, _ := p.txs.Get().(*tx)
	if t == nil {
		t = &tx{plane: p}
	}
	t.lane = l
	return t
}

func (p *Plane) giveBack(t *tx) { p.txs.Put(t) }

// enter and leave put a batch of datagrams into a lane of the gate.
func (t *tx) enter() {
	t.lane.RLock()
	t.inside = true
	t.now = t.plane.nanos()
}

func (t *tx) leave() {
	t.inside = false
	t.lane.RUnlock()
}

// forget drops everything that has been gathered.
func (t *tx) forget() {
	t.nitems, t.ngroups, t.nheads, t.naddrs, t.nmsgs, t.niovs = 0, 0, 0, 0, 0, 0
	t.gathered = gathered{buf: t.buf[:0]}
}

// room makes sure that one more datagram can be gathered, in whatever way.
func (t *tx) room() {
	if t.nitems == maxItems || t.ngroups == maxGroups || t.naddrs == maxAddrs || t.nheads+maxHeader > maxHeads {
		t.flush()
	}
}

// add makes an item for r: to its client on a path, or with none to a peer. Call room before.
func (t *tx) add(r *Relay, p *path, data []byte) *item {
	way := up
	if p != nil {
		way = down
	}
	hint := &r.io.hints[way]
	k := int(hint.Load())
	if k >= t.ngroups || t.groups[k].r != r || t.groups[k].path != p {
		k = t.ngroups
		t.groups[k] = group{r: r, path: p, way: way, first: -1}
		t.ngroups++
		hint.Store(uint32(k))
	}
	i := int32(t.nitems)
	t.nitems++
	it := &t.items[i]
	it.data, it.n, it.next = unsafe.SliceData(data), int32(len(data)), -1
	it.hlen, it.pad = 0, 0
	if g := &t.groups[k]; g.first < 0 {
		g.first, g.last = i, i
	} else {
		t.items[g.last].next = i
		g.last = i
	}
	return it
}

// toPeer queues data for a peer of r. dst is nil if the peer has no channel.
func (t *tx) toPeer(r *Relay, peer netip.AddrPort, dst *peerAddr, data []byte) {
	t.room()
	if dst == nil {
		dst = &t.addrs[t.naddrs]
		t.naddrs++
		dst.set(peer)
	}
	t.add(r, nil, data).dst = dst
}

// toClient queues data for r's client on a path. data must stay as it is until the flush.
func (t *tx) toClient(r *Relay, p *path, number uint16, from netip.AddrPort, data []byte) {
	if p.udp == nil {
		t.toStream(r, p, number, from, data)
		return
	}
	t.room()
	if number != 0 {
		var lead [stunmsg.ChannelHeader]byte
		if !stunmsg.PutChannelHeader(&lead, number, len(data)) {
			r.down.drop(TooLarge, 1)
			return
		}
		it := t.add(r, p, data)
		it.lead = lead
		it.head, it.hlen, it.dst = &it.lead[0], stunmsg.ChannelHeader, &p.to
		return
	}
	head, pad, ok := appendHeader(t.heads[t.nheads:t.nheads], 0, from, len(data), false)
	if !ok {
		r.down.drop(TooLarge, 1)
		return
	}
	it := t.add(r, p, data)
	it.head, it.hlen, it.pad, it.dst = &head[0], uint8(len(head)), uint8(pad), &p.to
	t.nheads += len(head)
}

// flush sends everything.
func (t *tx) flush() {
	t.flushStream()
	if t.ngroups == 0 {
		return
	}
	for k := range t.ngroups {
		g := &t.groups[k]
		switch {
		case g.r == nil:
		case g.way == up:
			fd := g.r.sock.fd()
			t.build(g, fd)
			t.transmit(fd)
		default:
			// All that leaves by the same listening socket goes together.
			u := g.path.udp
			for j := k; j < t.ngroups; j++ {
				if h := &t.groups[j]; h.r != nil && h.way == down && h.path.udp == u {
					t.build(h, u.fd)
				}
			}
			t.transmit(u.fd)
		}
	}
	t.nitems, t.ngroups, t.nheads, t.naddrs = 0, 0, 0, 0
}

// build makes messages of a group's items, and transmits when there is no room for more. It uses the group up.
func (t *tx) build(g *group, fd int) {
	r, way := g.r, g.way
	g.r = nil
	t.at = r
	m := r.meter(way)
	if r.dead.Load() || g.path != nil && g.path != r.path.Load() {
		for i := g.first; i >= 0; i = t.items[i].next {
			m.drop(Unsent, 1)
		}
		return
	}
	limit := int(r.io.gsoLimit[way].Load())
	if limit == 0 {
		limit = maxSuper
	}
	if !t.plane.engine.gso {
		limit = -1
	}
	for i := g.first; i >= 0; {
		if t.nmsgs == maxMsgs || t.niovs+3*maxSegs > maxIovs {
			t.transmit(fd)
		}
		i = t.message(g, r, i, limit)
	}
}

// message makes one message of item i and those behind it that can go with it, and returns the first that cannot. They
// need the same address and size, except that the last may be smaller, and none may be empty.
func (t *tx) message(g *group, r *Relay, i int32, limit int) int32 {
	it := &t.items[i]
	s := &t.what[t.nmsgs]
	*s = sending{r: r, path: g.path, way: g.way, first: i, size: it.size()}
	dst, total, begin := it.dst, 0, t.niovs
	for {
		t.iov(it)
		s.count++
		s.bytes += int(it.n)
		size := it.size()
		total += size
		if i = it.next; i < 0 || size != s.size || size == 0 || size >= limit || s.count == maxSegs {
			break
		}
		it = &t.items[i]
		if next := it.size(); next > s.size || next == 0 || total+next > maxSuper || it.dst != dst && *it.dst != *dst {
			break
		}
	}
	h := &t.hdrs[t.nmsgs].Msghdr
	h.Name, h.Namelen = &dst[0], dst.size()
	h.Iov = &t.iovs[begin]
	h.SetIovlen(t.niovs - begin)
	c := &t.ctrls[t.nmsgs]
	n := 0
	if s.from() {
		n = c.putSource(0, s.path.Server.Addr())
	}
	if s.count > 1 {
		n = c.putSegment(n, s.size)
	}
	h.Control = nil
	if n > 0 {
		h.Control = &c[0]
	}
	h.SetControllen(n)
	t.nmsgs++
	return i
}

// from reports whether a message must name the address to leave from, which is the one that the client asked.
func (s *sending) from() bool {
	return s.path != nil && s.path.udp.wildcard && !s.path.Server.Addr().IsUnspecified()
}

// iov appends the parts of one datagram. An empty one has a part too.
func (t *tx) iov(it *item) {
	if it.hlen > 0 {
		t.part(it.head, int(it.hlen))
	}
	if it.n > 0 || it.hlen == 0 {
		t.part(it.data, int(it.n))
	}
	if it.pad > 0 {
		t.part(&zeros[0], int(it.pad))
	}
}

func (t *tx) part(b *byte, n int) {
	t.iovs[t.niovs].Base = b
	t.iovs[t.niovs].SetLen(n)
	t.niovs++
}

// transmit sends the messages that have been made. What a full buffer refuses is dropped.
func (t *tx) transmit(fd int) {
	tries := 0
	for at := 0; at < t.nmsgs; {
		n, err := sendmmsg(fd, &t.hdrs[at], t.nmsgs-at)
		switch {
		case err == 0:
			tries = 0
			for end := at + n; at < end; at++ {
				s := &t.what[at]
				s.r.meter(s.way).passed(s.count, s.bytes)
			}
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			for ; at < t.nmsgs; at++ {
				s := &t.what[at]
				s.r.meter(s.way).drop(QueueFull, s.count)
			}
		case t.what[at].way == up && ofICMP(err) && tries+1 < icmpTries:
			tries++
		default:
			t.refused(fd, at, err)
			at++
			tries = 0
		}
	}
	t.nmsgs, t.niovs = 0, 0
}

// refused handles a message that the kernel did not take. If that may be because it holds several datagrams, as on a
// path whose MTU is below their size, it sends them one by one, as it will from now on.
func (t *tx) refused(fd, at int, err syscall.Errno) {
	s := &t.what[at]
	m := s.r.meter(s.way)
	if s.count == 1 || err == unix.ENOBUFS || err == unix.ENOMEM || err == unix.EPERM || err == unix.EACCES {
		m.drop(causeOf(err), s.count)
		return
	}
	limit := int32(s.size)
	if err != unix.EINVAL && err != unix.EMSGSIZE {
		limit = -1
	}
	s.r.io.gsoLimit[s.way].Store(limit)
	h := t.hdrs[at].Msghdr
	h.Control = nil
	h.SetControllen(0)
	if s.from() {
		h.Control = &t.ctrls[at][0]
		h.SetControllen(t.ctrls[at].putSource(0, s.path.Server.Addr()))
	}
	used := t.niovs
	for i := s.first; s.count > 0; s.count-- {
		it := &t.items[i]
		t.iov(it)
		h.Iov = &t.iovs[used]
		h.SetIovlen(t.niovs - used)
		err := sendmsg(fd, &h)
		for tries := 1; tries < icmpTries && s.way == up && ofICMP(err); tries++ {
			err = sendmsg(fd, &h)
		}
		if err == 0 {
			m.passed(1, int(it.n))
		} else {
			m.drop(causeOf(err), 1)
		}
		t.niovs = used
		i = it.next
	}
}

func (r *Relay) meter(way int) *meter {
	if way == up {
		return &r.up
	}
	return &r.down
}

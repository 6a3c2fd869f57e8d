//go:build linux && !portable

package relay

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxWaiting is how many flows, each a relay in one direction, are gathered before they are sent on. With a burst from
// 50 slow clients this takes a fifth off the p99 of the round trip, at no measurable cost.
const maxWaiting = 4

// worker has the buffers, and moves the datagrams.
type worker struct {
	p      *Plane
	index  int
	tx     *tx
	rx     *rx
	set    *set // at hand
	src    Source
	name   peerAddr
	local  netip.Addr
	events [maxEvents]unix.EpollEvent
	inner  [maxEvents]unix.EpollEvent // of a set within the set
	wake   chan struct{}              // the worker's own set has been given to it
	load   load
	crowd  int // most sockets that were ready in one round of the present window
	ready  int // sockets ready in this round
}

// round handles the events of a set. It gathers what they bring and sends it on at the end, or sooner if there is no
// room for more, or if so many flows wait that a larger call would gain nothing: the first should not wait for the
// last.
func (w *worker) round(t *set, events []unix.EpollEvent) {
	w.ready = 0
	w.tx.enter()
	w.handle(t, events)
	w.sendOn()
	w.tx.leave()
	w.crowd = max(w.crowd, w.ready)
}

func (w *worker) handle(t *set, events []unix.EpollEvent) {
	for i := range events {
		number := int(events[i].Fd)
		if number&setFlag != 0 {
			if o := w.p.engine.sets[number&^setFlag]; int(o.owner.Load()) == w.index {
				w.handle(o, o.poll(&w.inner))
			}
			continue
		}
		if !w.rx.room() || w.tx.ngroups >= maxWaiting {
			w.sendOn()
		}
		w.set = t
		w.ready++
		t.handled += w.socket(t, number, events[i].Events&unix.EPOLLERR != 0)
	}
}

// socket handles what has come in on one socket, and returns how many datagrams that was. failed is whether there are
// errors too.
func (w *worker) socket(t *set, number int, failed bool) int {
	defer w.contain()
	if number&listenerFlag != 0 {
		return w.listening(t.socks[number&^listenerFlag])
	}
	return w.relaying(number>>16, uint16(number), failed)
}

func (w *worker) sendOn() {
	defer w.contain()
	w.tx.flush()
	w.rx.used = 0
}

// contain is deferred around the handling of what has come in. After a panic the worker can go on with the next socket.
func (w *worker) contain() {
	if cause := recover(); cause != nil {
		w.tx.recovered(cause)
		w.rx.ready()
		w.tx.enter()
	}
}

// listening handles what clients have sent to u.
func (w *worker) listening(u *udpSocket) int {
	first, n := w.rx.receive(u.fd)
	var r *Relay
	known := false
	for i := first; i < first+n; i++ {
		data, local, segment := w.rx.datagram(i)
		if !known || w.name != w.rx.names[i] || w.local != local {
			w.name, w.local = w.rx.names[i], local
			if w.src, known = u.source(w.name.get(), local); !known {
				continue
			}
			r = w.src.Relay()
		}
		for {
			one := data[:min(segment, len(data))]
			w.tx.fromClient(&w.src, r, one)
			if len(one) > 0 && (one[0] < 4 || r == nil) {
				r = w.src.Relay() // the message may have opened, moved or closed it
			}
			if data = data[len(one):]; len(data) == 0 {
				break
			}
		}
	}
	return n
}

// relaying handles what peers have sent to the relay on a port, and what ICMP says of what it has sent. The event may be
// late, and the port in another set by now.
func (w *worker) relaying(family int, port uint16, failed bool) int {
	r := w.p.ports[family].at(port)
	if r == nil || r.io.set != w.set {
		return 0
	}
	if failed {
		w.tx.tellErrors(r, r.sock.fd())
	}
	first, n := w.rx.receive(r.sock.fd())
	for i := first; i < first+n; i++ {
		data, _, segment := w.rx.datagram(i)
		if segment == 0 {
			r.down.drop(TooLarge, 1)
			continue
		}
		from := w.rx.names[i].get()
		for {
			one := data[:min(segment, len(data))]
			w.tx.fromPeer(r, from, one)
			if data = data[len(one):]; len(data) == 0 {
				break
			}
		}
	}
	return n
}

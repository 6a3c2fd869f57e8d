//go:build linux && !portable

package relay

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How many workers are active. With little traffic, most of the cost is waking workers, and one that wakes for all sets
// finds more to do each time. So the first worker, the leader, has every set for as long as it keeps up: the other sets
// are then members of its own. When it has been busy for most of a window, or has found so many sockets ready at once
// that the last waits long for the first, it gives the set with the most traffic to that set's own worker. It takes the
// set back later, when both together have little to do: well below what made it give the set away, so that sets do not
// go to and fro.

// loadWindow is the time over which load is measured. Shares of it are in thousandths.
const loadWindow = 10 * time.Millisecond

// thresholds say when sets are given away, and back.
type thresholds struct {
	tooMuch, little int32         // shares of a window
	crowd           int           // sockets in one round
	keep            time.Duration // a set that was given away stays so for this long at least
}

var defaultThresholds = thresholds{800, 400, 12, 200 * time.Millisecond}

// load is how much of the time a worker is busy.
type load struct {
	begun time.Duration // of the window
	busy  time.Duration // within the window
	from  time.Duration // begin of what is not in busy yet
	share atomic.Int32  // of the last window
	at    atomic.Int64  // its end
}

// wakes notes that the worker begins to work.
func (l *load) wakes(now time.Duration) { l.from = now }

// works notes that the worker has been busy until now, and reports whether that ends a window.
func (l *load) works(now time.Duration) bool {
	l.busy += now - l.from
	l.from = now
	if now-l.begun < loadWindow {
		return false
	}
	l.share.Store(int32(l.busy * 1000 / (now - l.begun)))
	l.at.Store(int64(now))
	l.begun, l.busy = now, 0
	return true
}

// last is the share of the last window, or 0 if that was long ago.
func (l *load) last(now time.Duration) int32 {
	if now-time.Duration(l.at.Load()) > 10*loadWindow {
		return 0
	}
	return l.share.Load()
}

func (w *worker) now() time.Duration { return time.Since(w.p.engine.begun) }

func (w *worker) ended() bool {
	select {
	case <-w.p.engine.done:
		return true
	default:
		return false
	}
}

// lead is the leader's goroutine.
func (w *worker) lead() {
	defer w.p.engine.running.Done()
	w.serve(w.p.engine.sets[0], func() bool { w.giveAway(); return false })
}

// help is the goroutine of any other worker. It sleeps until it is given its set.
func (w *worker) help() {
	e := &w.p.engine
	defer e.running.Done()
	t := e.sets[w.index]
	for {
		select {
		case <-e.done:
			return
		case <-w.wake:
		}
		given := w.now()
		w.serve(t, func() bool { return w.giveBack(t, given) })
	}
}

// serve handles t until the end, or until balance, which it calls after each window, returns true. While t has nothing
// it waits for the bell, which rings at once for what came between the last look and the arming.
func (w *worker) serve(t *set, balance func() bool) {
	raw, err := t.bell.file.SyscallConn()
	if err != nil {
		return
	}
	given := false
	work := func(uintptr) bool {
		now := w.now()
		w.load.wakes(now)
		look := now + lookout
		for !w.ended() {
			events := t.poll(&w.events)
			if len(events) == 0 {
				t.bell.arm()
				return false
			}
			w.round(t, events)
			if now = w.now(); now > look {
				lookOut()
				look = now + loadWindow
			}
			if w.load.works(now) && balance() {
				given = true
				return true
			}
		}
		return true
	}
	for !given && !w.ended() {
		_ = raw.Read(work)
	}
}

// giveAway gives one set to its own worker if the leader has had too much to do, or too many sockets at once. The
// leader's events have all been handled when it is called.
func (w *worker) giveAway() {
	e := &w.p.engine
	var most *set
	for _, t := range e.sets[1:] {
		if int(t.owner.Load()) != w.index {
			continue
		}
		if t.handled > 0 && (most == nil || t.handled > most.handled) {
			most = t
		}
	}
	if most != nil && (w.load.share.Load() > e.tooMuch || w.crowd >= e.crowd) {
		if epollCtl(e.sets[0].epoll, unix.EPOLL_CTL_DEL, most.epoll, nil) == nil {
			most.owner.Store(int32(most.index))
			e.workers[most.index].wake <- struct{}{}
		}
	}
	for _, t := range e.sets[1:] {
		if int(t.owner.Load()) == w.index {
			t.handled = 0
		}
	}
	w.crowd = 0
}

// giveBack gives the worker's set back to the leader if both together have little to do.
func (w *worker) giveBack(t *set, given time.Duration) bool {
	e := &w.p.engine
	if w.now()-given < e.keep || w.load.share.Load()+e.workers[0].load.last(w.now()) > e.little {
		return false
	}
	t.handled = 0
	t.owner.Store(0)
	if e.sets[0].watch(t.epoll, setFlag|t.index) != nil {
		t.owner.Store(int32(t.index))
		return false
	}
	return true
}

package app

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/internal/admin/metrics"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

// watcher makes known what happens at the Broker: to the registry, the stories, the metrics, and to who ends the relays of
// Nodes that have left. Nodes that this program makes up to test itself are nobody's business.
type watcher struct {
	*parts
	meters *metrics.Metrics
}

// Observe implements [broker.Observer].
func (w *watcher) Observe(e broker.Event) {
	if nodeid.Synthetic(e.Node) {
		return
	}
	spelt := e.Node
	e.Node, e.Peer = nodeid.Canonical(e.Node), nodeid.Canonical(e.Peer)
	switch e.Kind {
	case broker.Joined:
		w.meters.ObserveJoin(e.Took)
		w.present.came(spelt)
		w.leavers.came(e.Node)
		w.nodes.Joined(e.Node, "joined the Broker from "+e.From.String()+" with "+library(e.Runtime, e.Version))
		if spelt != e.Node && w.nodes.Banned(e.Node) { // since it was asked: a ban found it under no spelling yet
			w.broker.Disconnect(spelt, "banned by the operator")
		}
	case broker.JoinRefused:
		if e.Answer != broker.Unauthorized { // that has been noted, with its cause
			w.nodes.NotJoined(e.Node, "could not join the Broker from "+e.From.String()+": "+e.Cause)
		}
	case broker.JoinFailed:
		w.nodes.NotJoined(e.Node, "could not join the Broker from "+e.From.String()+", and was told to try again: "+e.Cause)
	case broker.Left:
		if w.present.left(spelt) {
			w.nodes.Left(e.Node, "left the Broker: "+e.Cause, e.Lost)
			w.leavers.left(e.Node, time.Now())
		}
	case broker.Answered:
		w.answered(e)
	case broker.Arrived: // the machine where its sender is has it in the why-records of both
		w.noteStory(e)
	}
}

// library names a Node's library. Both are what the Node says.
func library(runtime, version string) string {
	switch {
	case runtime == "" && version == "":
		return "a library that does not say its name"
	case version == "":
		return runtime
	}
	return runtime + " " + version
}

// said are the events of the protocol that a why-record has, in words: of who sends it, and of who gets it.
var said = map[string][2]string{
	stories.Attempt:    {"asked for a connection: ", "was asked for a connection by "},
	stories.Acceptance: {"accepted the connection of ", "its connection was accepted by "},
	stories.Refusal:    {"refused the connection of ", "its connection was refused by "},
	stories.NotAllowed: {"takes no connections, and so not that of ", "is not let in, since no connections are taken by "},
}

func (w *watcher) noteStory(e broker.Event) {
	w.stories.Note(stories.Signal{
		From: e.Node, To: e.Peer, Event: e.Name, Answer: e.Answer, Cause: e.Cause, Candidates: kinds(e.Candidates), Bytes: e.Bytes, At: time.Now(),
	})
}

func (w *watcher) answered(e broker.Event) {
	w.noteStory(e)
	words, connects := said[e.Name]
	switch peer := strconv.Quote(e.Peer); {
	case e.Answer == broker.OK && connects:
		w.nodes.Signal(e.Node, words[0]+peer, false)
		if e.Peer != e.Node {
			w.nodes.Signal(e.Peer, words[1]+strconv.Quote(e.Node), false)
		}
	case e.Answer == broker.OK, e.Answer == broker.Unauthorized && e.Cause != "": // that was noted with its cause
	case e.Peer == "":
		w.nodes.Signal(e.Node, "the Broker answered "+e.Answer+" to "+e.Name+because(e.Cause), true)
	default:
		w.nodes.Signal(e.Node, "the Broker answered "+e.Answer+" to "+e.Name+" for "+peer+because(e.Cause), true)
	}
}

func because(cause string) string {
	if cause == "" {
		return ""
	}
	return ": " + cause
}

// kinds counts candidates by the name of their kind, nil for none.
func kinds(c broker.Candidates) map[string]int {
	if c == (broker.Candidates{}) { // most have none
		return nil
	}
	all := map[string]int{}
	for kind, n := range map[string]uint32{"host": c.Host, "srflx": c.Srflx, "prflx": c.Prflx, "relay": c.Relay, "other": c.Other} {
		if n > 0 {
			all[kind] = int(n)
		}
	}
	return all
}

// leavers ends the relays of Nodes that have left the Broker and not come back in time.
type leavers struct {
	after   func() time.Duration // 0: never
	here    func(node string) bool
	closeOf func(node, cause string) int

	some chan struct{} // holds one where somebody has left

	mu   sync.Mutex
	gone map[string]time.Time
}

// lookForLeavers is how often those are looked at who have left, while there are any.
const lookForLeavers = 200 * time.Millisecond

func (l *leavers) left(node string, at time.Time) {
	if l.after() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone == nil {
		l.gone = map[string]time.Time{}
	}
	l.gone[node] = at
	select {
	case l.some <- struct{}{}:
	default:
	}
}

// none reports whether nobody has left, or all have come back.
func (l *leavers) none() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.gone) == 0
}

func (l *leavers) came(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.gone, node)
}

// due takes those out whose time is over.
func (l *leavers) due(now time.Time) (due []string, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.gone) == 0 {
		return nil, 0
	}
	if after = l.after(); after == 0 { // a reload has turned it off
		clear(l.gone)
		return nil, 0
	}
	for node, at := range l.gone {
		if now.Sub(at) >= after {
			due = append(due, node)
			delete(l.gone, node)
		}
	}
	return due, after
}

// Run ends relays until ctx ends.
func (l *leavers) Run(ctx context.Context) error {
	tick := time.NewTicker(lookForLeavers)
	defer tick.Stop()
	for {
		if l.none() {
			tick.Stop()
			select {
			case <-ctx.Done():
				return nil
			case <-l.some:
				tick.Reset(lookForLeavers)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			due, after := l.due(now)
			for _, node := range due {
				if !l.here(node) {
					l.closeOf(node, "its Node left the Broker "+after.String()+" ago (broker.relays_end_after)")
				}
			}
		}
	}
}

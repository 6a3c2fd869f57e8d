package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/losses"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// openStream counts a client in. It fails if there are too many, or the server is ending.
func (a *Admin) openStream() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return problem(http.StatusServiceUnavailable, "the server is ending")
	case a.streams >= a.cfg.MaxStreams:
		return problem(http.StatusTooManyRequests, fmt.Sprintf("%d clients follow the events already: close one", a.streams))
	}
	a.streams++
	return nil
}

func (a *Admin) closeStream() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams--
	if a.closed && a.streams == 0 {
		close(a.idle)
	}
}

// events answers GET /api/events: server-sent events until the client goes or the server ends. "note" is something that
// happened to a Node (nodes.Event), "stats" are totals each second (Live). With ?node= there are only the notes of that Node.
// With ?seconds= the answer ends after so long: a proxy that holds an answer back until its end lets that through.
func (a *Admin) events(w http.ResponseWriter, r *http.Request, _ string) error {
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Site") != "none" {
		// The link of another page, which could take up every stream by opening windows.
		return problem(http.StatusForbidden, "events are for scripts of this server's own pages")
	}
	ends, err := streamEnd(r.URL.Query().Get("seconds"))
	if err != nil {
		return err
	}
	if err := a.openStream(); err != nil {
		w.Header().Set("Retry-After", "5")
		return err
	}
	defer a.closeStream()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	notes := a.cfg.Nodes.Subscribe(ctx)

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not hold events back
	w.WriteHeader(http.StatusOK)
	s := stream{w: w, c: http.NewResponseController(w), wait: a.writeWait}
	_ = s.c.SetReadDeadline(time.Time{}) // the listener's time for a request; a client that is gone shows when written to
	if r.Method == http.MethodHead || s.send("retry: 2000\n\n") != nil {
		return nil
	}
	only := nodeid.Canonical(r.URL.Query().Get("node"))
	tick := time.NewTicker(a.tick)
	defer tick.Stop()
	if only == "" && s.event("stats", a.live.get(a)) != nil {
		return nil
	}
	for quiet := time.Now(); ; {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-ends:
			return nil
		case <-a.closing:
			return nil
		case e, ok := <-notes:
			if !ok {
				return nil
			}
			if only != "" && e.Node != only && e.Kind != nodes.KindLost {
				continue
			}
			err = s.event("note", e)
		case <-tick.C:
			switch {
			case only == "":
				err = s.event("stats", a.live.get(a))
			case time.Since(quiet) >= a.heartbeat:
				err = s.send(": alive\n\n")
			default:
				continue
			}
		}
		if err != nil {
			return nil // the client went, or does not read
		}
		quiet = time.Now()
	}
}

// maxSeconds is the longest that ?seconds= may ask for: within the patience of proxies.
const maxSeconds = 30

// streamEnd reads ?seconds= and returns when the stream ends; nil: not by itself.
func streamEnd(seconds string) (<-chan time.Time, error) {
	if seconds == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(seconds)
	if err != nil || n < 1 || n > maxSeconds {
		return nil, problem(http.StatusBadRequest, fmt.Sprintf("seconds must be a number from 1 to %d", maxSeconds))
	}
	return time.After(time.Duration(n) * time.Second), nil
}

// stream writes server-sent events, each at once.
type stream struct {
	w    http.ResponseWriter
	c    *http.ResponseController
	wait time.Duration
}

func (s stream) event(name string, v any) error {
	data, err := json.Marshal(v) // has no line feed
	if err != nil {
		return err
	}
	return s.send("event: " + name + "\ndata: " + string(data) + "\n\n")
}

func (s stream) send(text string) error {
	// A writer without deadlines, such as a test's recorder, has none to keep.
	_ = s.c.SetWriteDeadline(time.Now().Add(s.wait))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.c.Flush()
}

// liveCache lets all streams share what one of them has counted a moment ago.
type liveCache struct {
	mu   sync.Mutex
	at   time.Time
	last adminapi.Live
}

func (l *liveCache) get(a *Admin) adminapi.Live {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.at) > a.tick/2 {
		l.last = a.count()
		l.at = now
	}
	return l.last
}

// refusedByWebhooks are the kinds of events that count as refusals when they failed. KindValidity is not among them: that a
// Broker is told to disconnect a Node follows from something else.
var refusedByWebhooks = []nodes.Kind{nodes.KindAuthentication, nodes.KindAuthorization, nodes.KindConfiguration}

// count adds up what a "stats" event says.
func (a *Admin) count() adminapi.Live {
	st, turn := a.cfg.Nodes.Stats(), a.cfg.Turn()
	notReady := a.notReady()
	l := adminapi.Live{
		Time: a.cfg.Now().UTC(), Nodes: st.Nodes, Connected: st.Connected, Bans: st.Bans,
		ByTransport: map[string]int{}, Refusals: map[string]uint64{}, NotReady: notReady, Drain: a.cfg.Draining(),
	}
	l.Draining = l.Drain != nil
	for _, t := range turn.Transports {
		l.Allocations += t.Allocations
		l.ByTransport[t.Transport] = t.Allocations
		l.Opened += t.Opened
		l.BytesIn += t.In.Bytes
		l.BytesOut += t.Out.Bytes
		l.DatagramsIn += t.In.Datagrams
		l.DatagramsOut += t.Out.Datagrams
	}
	for _, n := range turn.Drops {
		l.Drops += n
	}
	for _, kind := range refusedByWebhooks {
		if n := st.Failed[kind]; n > 0 {
			l.Refusals["0 "+string(kind)] = n
		}
	}
	for _, x := range turn.Refusals {
		l.Refusals[strconv.Itoa(x.Code)+" "+x.Cause] += x.Count
	}
	l.Losses, l.Figures = a.losses(), append([]adminapi.Figure{}, a.cfg.Figures()...)
	return l
}

// losses are those that are not in Live.Refusals, the most frequent first.
func (a *Admin) losses() []adminapi.Loss {
	list := []adminapi.Loss{}
	for _, c := range a.cfg.Losses() {
		if c.N > 0 && c.Area != losses.Requests {
			list = append(list, adminapi.Loss{Area: string(c.Area), Cause: c.Cause, Means: losses.Of(c.Area, c.Cause).Means, Count: c.N})
		}
	}
	slices.SortFunc(list, func(x, y adminapi.Loss) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Area, y.Area), cmp.Compare(x.Cause, y.Cause))
	})
	return list
}

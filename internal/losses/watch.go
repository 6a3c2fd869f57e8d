package losses

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// NodeDrops is what was dropped of one allocation since it was made.
type NodeDrops struct {
	Allocation, Node string
	ByCause          map[string]uint64 // of Datagrams
}

// Config is what a Watch needs. Its functions are called by [Watch.Run] alone, one after the other.
type Config struct {
	Read  func() []Count               // all counters; what is left out counts as 0
	Found func(now []findings.Finding) // is told what is being lost, at each look
	Drops func() []NodeDrops           // of live allocations; those without drops may be left out. nil: none
	Note  func(node, detail string)    // adds to the Node's why-record; with Drops
	Every time.Duration                // between two looks; 0: 5 s
	Log   *slog.Logger                 // nil: nothing is logged
}

// lasts is how long something counts as going on after it was seen last, and the time between two lines of the log.
const lasts = time.Minute

// reading is what the counters were at a time.
type reading struct {
	at time.Time
	n  map[Count]uint64 // the key's N is 0
}

// Watch looks at counters again and again. Make it with [New].
type Watch struct {
	cfg   Config
	past  []reading // the oldest first: one that is at least a minute old, and those since
	told  bool      // there are findings
	noted time.Time // when the log and the Nodes were told last
	drops map[string]map[string]uint64
}

// New checks cfg.
func New(cfg Config) (*Watch, error) {
	if cfg.Read == nil || cfg.Found == nil || (cfg.Drops == nil) != (cfg.Note == nil) {
		return nil, errors.New("losses: Read and Found are needed, and Drops and Note together")
	}
	if cfg.Every <= 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Watch{cfg: cfg, past: []reading{{}}}, nil
}

// Run looks until ctx ends. It returns nil.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.Every)
	defer tick.Stop()
	w.noted = time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			w.look(now)
		}
	}
}

// look compares the counters with those of a minute ago.
func (w *Watch) look(now time.Time) {
	next := reading{now, make(map[Count]uint64)}
	for _, c := range w.cfg.Read() {
		next.n[Count{Area: c.Area, Cause: c.Cause}] += c.N
	}
	for len(w.past) > 1 && now.Sub(w.past[1].at) >= lasts {
		w.past = w.past[1:]
	}
	w.past = append(w.past, next)
	lost := next.since(w.past[0])
	if found := toFindings(lost); len(found) > 0 || w.told {
		w.told = len(found) > 0
		w.cfg.Found(found)
	}
	if now.Sub(w.noted) < lasts {
		return
	}
	w.noted = now
	if len(lost) > 0 {
		w.cfg.Log.Warn("refused, displaced or dropped within a minute", "causes", list(lost))
	}
	w.noteNodes()
}

// since lists what was lost since an earlier reading and is worth a finding, the most frequent first.
func (r reading) since(old reading) (lost []Count) {
	for c, n := range r.n {
		if c.N = n - min(n, old.n[c]); c.N >= Of(c.Area, c.Cause).Least && c.N > 0 {
			lost = append(lost, c)
		}
	}
	slices.SortFunc(lost, func(x, y Count) int {
		return cmp.Or(cmp.Compare(y.N, x.N), cmp.Compare(x.Area, y.Area), cmp.Compare(x.Cause, y.Cause))
	})
	return lost
}

func toFindings(lost []Count) (found []findings.Finding) {
	for _, c := range lost {
		of := Of(c.Area, c.Cause)
		// No number: a finding whose text changes is logged anew.
		found = append(found, findings.Finding{
			ID: fmt.Sprintf("losses.%s.%s", c.Area, strings.ReplaceAll(c.Cause, " ", ".")), Detail: of.Means, Remedy: of.Remedy,
		})
	}
	return found
}

// list is what was lost in one line.
func list(lost []Count) string {
	var b strings.Builder
	for i, c := range lost {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(c.Area) + " " + c.Cause + " " + strconv.FormatUint(c.N, 10))
	}
	return b.String()
}

// noteNodes adds to the why-records of Nodes what was dropped of their live allocations since the last time.
func (w *Watch) noteNodes() {
	if w.cfg.Drops == nil {
		return
	}
	next := make(map[string]map[string]uint64)
	fresh := make(map[string]map[string]bool) // by Node: a cause is noted once, whatever the number of its allocations
	for _, d := range w.cfg.Drops() {
		next[d.Allocation] = d.ByCause
		for cause, n := range d.ByCause {
			if n <= w.drops[d.Allocation][cause] {
				continue
			}
			if fresh[d.Node] == nil {
				fresh[d.Node] = make(map[string]bool)
			}
			fresh[d.Node][cause] = true
		}
	}
	w.drops = next
	for node, causes := range fresh {
		names := make([]string, 0, len(causes))
		for cause := range causes {
			names = append(names, cause)
		}
		slices.Sort(names)
		for _, cause := range names {
			w.cfg.Note(node, "dropped "+cause+": "+Of(Datagrams, cause).Means)
		}
	}
}

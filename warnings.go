package main

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/admin"
)

// warnings are what looks wrong with the set-up now, for the admin API and for doctor.
func (a *app) warnings() []admin.Warning {
	var all []admin.Warning
	for _, w := range a.cfg().Warnings() {
		all = append(all, admin.Warning{ID: "config", Detail: w, Remedy: "change the key, unless it is meant so"})
	}
	for _, d := range a.certs.Doubts() {
		all = append(all, admin.Warning{ID: "certificate." + d.ID, Detail: d.Text, Remedy: d.Remedy})
	}
	return append(all, a.findings.list()...)
}

// sayAgain is how long a finding that comes and goes is not logged another time.
const sayAgain = time.Hour

// findings are what the running server has found wrong with its set-up. Each is logged once.
type findings struct {
	log *slog.Logger

	mu   sync.Mutex
	all  map[string]admin.Warning // by id
	said map[admin.Warning]time.Time
}

// replace makes now the findings whose id begins with prefix, in the place of all such.
func (f *findings) replace(prefix string, now []admin.Warning) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all, f.said = make(map[string]admin.Warning), make(map[admin.Warning]time.Time)
	}
	maps.DeleteFunc(f.all, func(id string, _ admin.Warning) bool { return strings.HasPrefix(id, prefix) })
	maps.DeleteFunc(f.said, func(_ admin.Warning, at time.Time) bool { return time.Since(at) > sayAgain })
	for _, w := range now {
		f.all[w.ID] = w
		if _, ok := f.said[w]; !ok {
			f.log.Warn(w.Detail + ": " + w.Remedy)
		}
		f.said[w] = time.Now()
	}
}

// list is every finding, by id.
func (f *findings) list() []admin.Warning {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.all), func(x, y admin.Warning) int { return strings.Compare(x.ID, y.ID) })
}

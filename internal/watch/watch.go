// Package watch notices that files hold something else than before. It goes by their content alone: a secret that is
// replaced by another of the same length and time is noticed, and so is a symbolic link that is turned to another
// folder, as Kubernetes does with ..data. It imports nothing of this module.
package watch

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"os"
	"sync"
	"time"
)

// most bounds what is read of a file: longer ones are not for a configuration.
const most = 16 << 20

// Watcher follows the content of files. Its methods may be called from any goroutine.
type Watcher struct {
	every time.Duration

	mu   sync.Mutex
	seen map[string]sum // what each file held when changed was called last, or when it was added
	last map[string]sum // at the look before
	used map[string]bool
}

// sum stands for what a file holds. The zero sum is that of what is no file, or cannot be read.
type sum [sha256.Size]byte

// New makes a Watcher that looks at its files that often, while [Watcher.Run] runs.
func New(every time.Duration) *Watcher {
	return &Watcher{every: every, seen: map[string]sum{}, used: map[string]bool{}}
}

// Add begins to follow a file, from what it holds now. Call it before reading the file, and again whenever the func
// that Run calls is about to read it. A file that is not there is followed too.
func (w *Watcher) Add(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used[path] = true
	if _, known := w.seen[path]; !known {
		w.seen[path] = read(path)
	}
}

// Run calls changed whenever a file that is followed holds something else than before, and for each signal on asked,
// which may be nil: one call at a time, and only when the files have stayed as they are for two looks, since whoever
// writes one may not be done. If changed returns true, files that it has not added are forgotten. Run returns nil when
// ctx has ended and changed has returned.
func (w *Watcher) Run(ctx context.Context, asked <-chan os.Signal, changed func(asked bool) bool) error {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		ask := false
		select {
		case <-ctx.Done():
			return nil
		case <-asked:
			ask = true
		case <-tick.C:
		}
		if w.look() || ask {
			w.begin()
			if changed(ask) {
				w.forget()
			}
		}
	}
}

// look reports whether something else is there than was seen, and has been since the look before.
func (w *Watcher) look() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := make(map[string]sum, len(w.seen))
	for path := range w.seen {
		now[path] = read(path)
	}
	settled := maps.Equal(now, w.last)
	w.last = now
	return settled && !maps.Equal(now, w.seen)
}

// begin makes what the last look found what was seen.
func (w *Watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = maps.Clone(w.last)
	clear(w.used)
}

// forget follows no file any more that was not added since begin.
func (w *Watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.seen, func(path string, _ sum) bool { return !w.used[path] })
}

// read is the sum of a file, through links. What is neither a file nor a folder, such as a pipe, is not opened: that
// could block, or take what is meant for somebody else.
func read(path string) (s sum) {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return s
	}
	f, err := os.Open(path)
	if err != nil {
		return s
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, most)); err != nil {
		return s
	}
	return sum(h.Sum(nil))
}

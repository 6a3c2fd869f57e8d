package app

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/stages"
)

// reloadPoll is how often the configuration file is looked at. SIGHUP asks for it at once. A change that is seen is applied
// when the file has stayed as it is until the next look: an editor may not be done with it.
const reloadPoll = time.Second

var (
	errEmptied = errors.New("the configuration file is empty, and was not: with it every setting would fall back to its default; restart if that is meant")
	errPipe    = errors.New("the configuration cannot be read again, since it is no regular file: give --config one, or restart")
)

// Reloader applies a changed configuration to the running App: all of it or nothing. What cannot change while running is
// named and left as it was.
type Reloader struct {
	file string           // empty: there is none to watch
	hup  <-chan os.Signal // asks for a reload at once; nil: nobody does
	load func() (*config.Config, error)
	held fileStamp // of the file whose settings hold, taken before it was read
}

// NewReloader makes a Reloader for a file, which may be empty if there is none, and reads the configuration with load for
// the first time. A signal on hup, which may be nil, asks for a reload at once.
func NewReloader(file string, hup <-chan os.Signal, load func() (*config.Config, error)) (*Reloader, *config.Config, error) {
	r := &Reloader{file: file, hup: hup, load: load}
	r.held = r.stamp()
	cfg, err := load()
	return r, cfg, err
}

// For returns the part that watches the file until its context ends, and applies what changes to a.
func (r *Reloader) For(a *App) stages.Part {
	return func(ctx context.Context) error { return r.run(ctx, a) }
}

func (r *Reloader) run(ctx context.Context, a *App) error {
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	seen, last := r.held, r.held
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-r.hup:
			asked = true
		case <-tick.C:
		}
		now := r.stamp()
		settled := now == last
		last = now
		if asked || settled && now != seen {
			seen = now
			r.reload(ctx, a)
		}
	}
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	size    int64
	time    time.Time
	special bool // a pipe, say, which is read once
}

func (r *Reloader) stamp() fileStamp {
	if r.file == "" {
		return fileStamp{}
	}
	st, err := os.Stat(r.file)
	if err != nil {
		return fileStamp{size: -1}
	}
	if !st.Mode().IsRegular() && !st.IsDir() {
		return fileStamp{special: true}
	}
	return fileStamp{st.Size(), st.ModTime(), false}
}

// read loads the configuration anew.
func (r *Reloader) read() (*config.Config, error) {
	switch now := r.stamp(); {
	case now.special:
		return nil, errPipe
	case now.size == 0 && r.held.size > 0:
		return nil, errEmptied
	default:
		next, err := r.load()
		if err == nil {
			r.held = now
		}
		return next, err
	}
}

// reload reads the configuration and applies it, or says all that is wrong with it and changes nothing.
func (r *Reloader) reload(ctx context.Context, a *App) {
	log := a.part("config")
	defer a.supervisor.reloading()()
	next, err := r.read()
	old := a.cfg()
	var stays []string
	if err == nil {
		next, stays = config.Keep(old, next)
		err = a.Apply(ctx, next)
	}
	if err != nil {
		log.Error("the changed configuration is refused, the old one holds", "mistakes", strings.Split(err.Error(), "\n"))
		return
	}
	if len(stays) > 0 {
		log.Warn("some changes need a restart", "keys", stays)
	}
	for _, w := range next.Warnings() {
		if !slices.Contains(old.Warnings(), w) {
			log.Warn(w)
		}
	}
	if changed := config.Changed(old, next); len(changed) > 0 {
		log.Info("the changed configuration holds", "keys", changed)
	} else {
		log.Info("the changed configuration holds: it changes nothing that is in use")
	}
}

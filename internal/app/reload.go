package app

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/stages"
	"github.com/crolang-p2p/crolang-aio/internal/watch"
)

// reloadPoll is how often the files of the configuration are looked at. SIGHUP asks for it at once. A change that is seen is
// applied when they have stayed as they are until the next look: an editor may not be done with them.
const reloadPoll = time.Second

var (
	errEmptied = errors.New("the configuration file is empty, and was not: with it every setting would fall back to its default; restart if that is meant")
	errPipe    = errors.New("the configuration cannot be read again, since it is no regular file: give --config one, or restart")
)

// Reloader applies a changed configuration to the running App: all of it or nothing. What cannot change while running is
// named and left as it was. It watches every file that the configuration is read from or names: secrets and keys too.
type Reloader struct {
	file  string           // empty: there is none
	hup   <-chan os.Signal // asks for a reload at once; nil: nobody does
	load  func(...config.Option) (*config.Config, error)
	files *watch.Watcher
	size  int64 // of the file whose settings hold
}

// NewReloader makes a Reloader for a file, which may be empty if there is none, and reads the configuration with load for
// the first time. A signal on hup, which may be nil, asks for a reload at once.
func NewReloader(file string, hup <-chan os.Signal, load func(...config.Option) (*config.Config, error)) (*Reloader, *config.Config, error) {
	r := &Reloader{file: file, hup: hup, load: load, files: watch.New(reloadPoll)}
	cfg, err := r.read()
	return r, cfg, err
}

// For returns the part that watches the files until its context ends, and applies what changes to a.
func (r *Reloader) For(a *App) stages.Part {
	return func(ctx context.Context) error {
		return r.files.Run(ctx, r.hup, func(asked bool) bool { return r.reload(ctx, a, asked) })
	}
}

// read loads the configuration.
func (r *Reloader) read() (*config.Config, error) {
	size := int64(-1)
	if st, err := os.Stat(r.file); err == nil {
		size = st.Size()
	}
	cfg, err := r.load(config.WithRead(r.files.Add))
	if err == nil {
		r.size = size
	}
	return cfg, err
}

// readAgain is read for a file that was read before.
func (r *Reloader) readAgain() (*config.Config, error) {
	st, err := os.Stat(r.file)
	switch {
	case err != nil: // said by read
	case !st.Mode().IsRegular() && !st.IsDir():
		return nil, errPipe
	case st.Size() == 0 && r.size > 0:
		return nil, errEmptied
	}
	return r.read()
}

// reload reads the configuration and applies it, or says all that is wrong with it, changes nothing and returns false. It was
// asked for by a signal, or the files have changed.
func (r *Reloader) reload(ctx context.Context, a *App, asked bool) bool {
	log := a.part("config")
	a.log.Reopen()
	defer a.supervisor.reloading()()
	next, err := r.readAgain()
	old := a.cfg()
	var stays []string
	if err == nil {
		next, stays = config.Keep(old, next)
		err = a.Apply(ctx, next)
	}
	if err != nil {
		log.Error("the changed configuration is refused, the old one holds", "mistakes", strings.Split(err.Error(), "\n"))
		a.noteReload(asked, nil, err)
		return false
	}
	if len(stays) > 0 {
		log.Warn("some changes need a restart", "keys", stays)
	}
	for _, w := range next.Warnings() {
		if !slices.Contains(old.Warnings(), w) {
			log.Warn(w)
		}
	}
	changed := config.Changed(old, next)
	a.noteReload(asked, changed, nil)
	switch {
	case len(changed) > 0:
		log.Info("the changed configuration holds", "keys", changed)
		a.nodes.Tell(nodes.KindReloaded, "a changed configuration holds: "+strings.Join(changed, ", "))
	case len(stays) > 0:
		log.Info("the changed configuration holds: until a restart it changes nothing")
	default:
		log.Info("the changed configuration holds: it changes no setting that is in use")
	}
	return true
}

package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/app"
)

// serve runs everything until SIGINT, SIGTERM or a drain command; a second signal ends it at once, see [ending].
func serve(c *cli.Context) error {
	// Otherwise the end of what reads the log ends this too.
	signal.Ignore(syscall.SIGPIPE)
	// From here on SIGHUP ends nothing, neither while the parts are built nor when the reloader has ended.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	reloader, cfg, err := app.NewReloader(c.String("config"), hup, func(opts ...config.Option) (*config.Config, error) { return load(c, opts...) })
	if err != nil {
		return err
	}
	log, err := app.OpenLog(cfg, c.App.ErrWriter)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		log.Warn(w)
	}
	a, err := app.New(cfg, log, app.Pace{})
	if err != nil {
		return err
	}
	a.Announce(c.String("config"))
	ctx, stop := endOnSignal(c.Context, log.Logger)
	defer stop()
	if err = a.Run(ctx, reloader.For(a)); err == nil {
		log.Info("ended")
	}
	return err
}

// sameEnd is how long further signals belong to the first one: a supervisor sends SIGTERM to a process and to its group, and
// a wrapper hands on the SIGINT that the terminal has sent already.
const sameEnd = time.Second

// ending counts the signals that ask for an end.
type ending struct {
	first       time.Time // zero: there was none
	interrupted bool      // one was SIGINT
}

// again reports whether s, which comes at now, asks for the end once more: it is not the first, nor one with it. SIGINT
// twice is somebody who is impatient, however soon.
func (e *ending) again(s os.Signal, now time.Time) bool {
	impatient := s == os.Interrupt && e.interrupted
	e.interrupted = e.interrupted || s == os.Interrupt
	if e.first.IsZero() {
		e.first = now
	}
	return impatient || now.Sub(e.first) >= sameEnd
}

// endOnSignal returns a context that SIGINT or SIGTERM ends; a second one ends the process, see [ending]. It does not leave
// that to the signal's default, which is to ignore SIGINT for what a script has started in the background. stop waits for
// all that was started.
func endOnSignal(parent context.Context, log *slog.Logger) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		var e ending
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if e.again(s, time.Now()) {
					log.Warn("ended by a second signal", "signal", s.String())
					os.Exit(1)
				}
				if ctx.Err() == nil {
					log.Info("ending; a second signal ends at once", "signal", s.String())
				}
				cancel()
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		waiting.Wait()
		cancel()
	}
}

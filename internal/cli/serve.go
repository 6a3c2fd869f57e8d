package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/app"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
)

// serve runs everything until SIGINT, SIGTERM or a drain command; a second signal ends it at once.
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
	log, err := logging.New(c.App.ErrWriter, cfg.Log.Level, cfg.Log.Format)
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

// endOnSignal returns a context that SIGINT or SIGTERM ends; a second one ends the process. It does not leave that to
// the signal's default, which is to ignore SIGINT for what a script has started in the background. stop waits for all
// that was started.
func endOnSignal(parent context.Context, log *slog.Logger) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-signals:
				if n > 0 {
					log.Warn("ended by a second signal", "signal", s.String())
					os.Exit(1)
				}
				log.Info("ending; a second signal ends at once", "signal", s.String())
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

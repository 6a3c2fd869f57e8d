package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// logging is the process's log, whose level and format a reload can change.
type logging struct {
	*slog.Logger
	level  slog.LevelVar
	to     *patient
	format string // as it is now
	base   atomic.Pointer[slog.Handler]
}

// newLogging makes the process's log. format is auto, text or json; auto is tint on a terminal and JSON elsewhere.
func newLogging(w io.Writer, level slog.Level, format string) *logging {
	l := &logging{to: &patient{to: w}}
	l.set(level, format)
	l.Logger = slog.New(&swapped{log: l})
	return l
}

// set changes level and format. One goroutine may do so at a time, while any number log.
func (l *logging) set(level slog.Level, format string) {
	l.level.Set(level)
	if format == l.format {
		return
	}
	l.format = format
	h := newHandler(l.to, &l.level, format)
	l.base.Store(&h)
}

func newHandler(w io.Writer, level slog.Leveler, format string) slog.Handler {
	tty := isTerminal(w)
	if format == "json" || format == "auto" && !tty {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: plainDuration})
	}
	return tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !tty || !colours(os.Getenv)})
}

// colours says whether a terminal is to be written to in colours, by the customs of no-color.org and of terminals that have none.
func colours(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// plainDuration writes a duration as text does: JSON's own way is a count of nanoseconds.
func plainDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(w io.Writer) bool {
	if p, ok := w.(*patient); ok {
		w = p.to
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// swapped is a handler on top of the one that holds now. What a logger was given, attributes and groups, is given to
// each new one again.
type swapped struct {
	log    *logging
	derive []func(slog.Handler) slog.Handler
	made   atomic.Pointer[derived]
}

// derived is a handler with the one that it was made of.
type derived struct {
	base    *slog.Handler
	handler slog.Handler
}

// Enabled is slog.Handler's.
func (s *swapped) Enabled(_ context.Context, level slog.Level) bool {
	return level >= s.log.level.Level()
}

// Handle is slog.Handler's.
func (s *swapped) Handle(ctx context.Context, r slog.Record) error {
	base := s.log.base.Load()
	d := s.made.Load()
	if d == nil || d.base != base {
		d = &derived{base, *base}
		for _, f := range s.derive {
			d.handler = f(d.handler)
		}
		s.made.Store(d)
	}
	if n := s.log.to.lost(); n > 0 {
		slog.New(*base).Warn("what reads the log did not take it for a while: records were dropped", "records", n)
	}
	return d.handler.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (s *swapped) WithAttrs(attrs []slog.Attr) slog.Handler {
	return s.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup is slog.Handler's.
func (s *swapped) WithGroup(name string) slog.Handler {
	return s.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (s *swapped) with(f func(slog.Handler) slog.Handler) slog.Handler {
	return &swapped{log: s.log, derive: append(s.derive[:len(s.derive):len(s.derive)], f)}
}

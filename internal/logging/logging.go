// Package logging is the process's log: tint on a terminal, JSON elsewhere, with a level and a format that can change while
// it is in use, on a writer that never holds up whoever logs.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"github.com/crolang-p2p/crolang-aio/internal/change"
)

// Logger is the process's log. Its level and format can change while it is in use.
type Logger struct {
	*slog.Logger
	level  slog.LevelVar
	to     *patient
	format string // as it is now
	base   atomic.Pointer[slog.Handler]
}

// New makes a log that writes to w. format is auto, text or json; auto is tint on a terminal and JSON elsewhere.
func New(w io.Writer, level slog.Level, format string) (*Logger, error) {
	l := &Logger{to: &patient{to: w}}
	first, err := l.Prepare(level, format)
	if err != nil {
		return nil, err
	}
	first.Apply()
	l.Logger = slog.New(&swapped{log: l})
	return l, nil
}

// Prepare gets another level and format ready. One goroutine at a time may apply them, while any number log.
func (l *Logger) Prepare(level slog.Level, format string) (change.Change, error) {
	if !slices.Contains([]string{"auto", "text", "json"}, format) {
		return change.Change{}, fmt.Errorf("log.format: %q is none: it is auto, text or json", format)
	}
	h := newHandler(l.to, &l.level, format)
	return change.New(func() {
		l.level.Set(level)
		if format != l.format {
			l.format = format
			l.base.Store(&h)
		}
	}, nil), nil
}

func newHandler(w io.Writer, level slog.Leveler, format string) slog.Handler {
	tty := IsTerminal(w)
	if format == "json" || format == "auto" && !tty {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: plainDuration})
	}
	return tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !Coloured(w)})
}

// Coloured reports whether to write to w in colour: it is a terminal, and nobody has said that they would rather not.
func Coloured(w io.Writer) bool { return IsTerminal(w) && colours(os.Getenv) }

// colours reports whether to colour what goes to a terminal, following no-color.org and the custom of TERM=dumb.
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

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	if p, ok := w.(*patient); ok {
		w = p.to
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// swapped passes records to the handler in use, and gives each new one the attributes and groups that the logger was given.
type swapped struct {
	log    *Logger
	derive []func(slog.Handler) slog.Handler
	made   atomic.Pointer[derived]
}

// derived is a handler together with the one it was derived from.
type derived struct {
	base    *slog.Handler
	handler slog.Handler
}

// Enabled implements [slog.Handler].
func (s *swapped) Enabled(_ context.Context, level slog.Level) bool {
	return level >= s.log.level.Level()
}

// Handle implements [slog.Handler].
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

// WithAttrs implements [slog.Handler].
func (s *swapped) WithAttrs(attrs []slog.Attr) slog.Handler {
	return s.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (s *swapped) WithGroup(name string) slog.Handler {
	return s.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (s *swapped) with(f func(slog.Handler) slog.Handler) slog.Handler {
	return &swapped{log: s.log, derive: append(s.derive[:len(s.derive):len(s.derive)], f)}
}

// Reopen has a log that is in a file open it again, since somebody may have renamed it. It may be called at any time.
func (l *Logger) Reopen() {
	if f, ok := l.to.to.(*File); ok {
		f.Reopen()
	}
}

// Trouble is why the file that the log is in did not take the last record; nil: it did, or there is no such file.
func (l *Logger) Trouble() error {
	if f, ok := l.to.to.(*File); ok {
		return f.Trouble()
	}
	return nil
}

// Writer is what the log writes to. A write to it never fails, and waits a second at most.
func (l *Logger) Writer() io.Writer { return l.to }

// IsText reports whether a person reads the log as it is: it goes to a terminal, or its format is text.
func (l *Logger) IsText() bool { return l.format == "text" || IsTerminal(l.to) }

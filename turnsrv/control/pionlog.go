package control

import (
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pionLogger brings what pion says to slog at debug level: everything that reaches pion was decided on before, so
// none of it is news for an operator.
type pionLogger struct{ log *slog.Logger }

func (pionLogger) Trace(string)          {}
func (pionLogger) Tracef(string, ...any) {}
func (pionLogger) Debug(string)          {}
func (pionLogger) Debugf(string, ...any) {}
func (pionLogger) Info(string)           {}
func (pionLogger) Infof(string, ...any)  {}

// Warn and the three below are pion's own troubles.
func (l pionLogger) Warn(msg string) { l.log.Debug(msg, "library", "pion/turn") }

// Warnf is Warn with a format.
func (l pionLogger) Warnf(f string, a ...any) { l.Warn(fmt.Sprintf(f, a...)) }

// Error is Warn: see pionLogger.
func (l pionLogger) Error(msg string) { l.Warn(msg) }

// Errorf is Warn with a format.
func (l pionLogger) Errorf(f string, a ...any) { l.Warn(fmt.Sprintf(f, a...)) }

// oneLogger is a logging.LoggerFactory with one logger for every scope.
type oneLogger struct{ log logging.LeveledLogger }

// NewLogger is pion's interface.
func (o oneLogger) NewLogger(string) logging.LeveledLogger { return o.log }

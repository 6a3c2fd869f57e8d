package app

import (
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/audit"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// openAudit opens the log of who changed what.
func (a *App) openAudit() (err error) {
	a.audit, err = audit.Open(audit.Config{
		DataDir: a.dir.Path(), Logger: a.part("audit"), Found: func(now []findings.Finding) { a.found.Replace("audit.", now) },
	})
	return err
}

// drainAsked is [App.Drain] for a signal, or for whoever else has ended the context of [App.Run].
func (a *App) drainAsked() {
	if !a.life.draining() {
		a.audit.Note(audit.Entry{What: audit.Drain, By: "SIGTERM or SIGINT"})
	}
	a.Drain()
}

// noteReload writes down a reload that was asked for, changed something or was refused. Neither keys nor mistakes tell a secret.
func (a *App) noteReload(asked bool, changed []string, refused error) {
	e := audit.Entry{What: audit.Reload, By: "files", Detail: strings.Join(changed, ", ")}
	if asked {
		e.By = "SIGHUP"
	}
	switch {
	case refused != nil:
		e.Refused = strings.ReplaceAll(refused.Error(), "\n", "; ")
	case len(changed) == 0 && !asked:
		return // a file was touched
	case len(changed) == 0:
		e.Detail = "no setting that is in use"
	}
	a.audit.Note(e)
}

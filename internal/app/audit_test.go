package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/audit"
)

func (s *site) audited() []audit.Entry {
	s.t.Helper()
	p, err := s.audit.Page(audit.Query{})
	if err != nil {
		s.t.Fatal(err)
	}
	return p.Entries
}

// Reloads are in the audit log with what they changed, or why they were refused, and without a secret.
func TestReloadsAreAudited(t *testing.T) {
	s := startSite(t, "")
	s.reload() // a file was touched
	if got := s.audited(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	const secret = "0123456789abcdef0123456789abcdef-hush"
	s.write("[log]\nlevel = 'debug'\n[credentials]\nsecret = '" + secret + "'\n")
	s.reload()
	s.write("[log]\nlevel = 'debugg'\n[turn]\nnonsense = 1\n")
	s.reload()
	s.Reloader.reload(t.Context(), s.App, true)
	s.write("[log]\nlevel = 'debug'\n[credentials]\nsecret = '" + secret + "'\n")
	s.Reloader.reload(t.Context(), s.App, true)
	got := s.audited()
	if len(got) != 4 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []struct{ by, detail, refused string }{
		{"SIGHUP", "no setting that is in use", ""}, {"SIGHUP", "", "log.level"}, {"files", "", "nonsense"}, {"files", "log.level, credentials.secret", ""},
	} {
		e := got[i]
		if e.What != audit.Reload || e.By != want.by || e.Detail != want.detail || !strings.Contains(e.Refused, want.refused) || (e.Refused == "") != (want.refused == "") {
			t.Errorf("%+v, want %+v", e, want)
		}
	}
	if data, err := os.ReadFile(filepath.Join(s.dir.Path(), audit.FileName)); err != nil || strings.Contains(string(data), "hush") {
		t.Errorf("%s, %v", data, err)
	}
}

// A drain that a signal asks for is in the log of the next process.
func TestSignalledDrainIsAudited(t *testing.T) {
	dir := t.TempDir()
	t.Run("until the signal", func(t *testing.T) { startSite(t, "data_dir = '"+dir+"'\n") })
	log, err := audit.Open(audit.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p, err := log.Page(audit.Query{})
	if err != nil || len(p.Entries) != 1 || p.Entries[0].What != audit.Drain || p.Entries[0].By != "SIGTERM or SIGINT" {
		t.Errorf("%+v, %v", p, err)
	}
}

package app

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
)

// A certificate that is doubtful at the start, and one whose files go bad under a running server.
func TestBadCertificates(t *testing.T) {
	dir := t.TempDir()
	putPair(t, dir, 1, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(23 * time.Hour) })
	s := startSite(t, "[turn]\nlisten_tls = ['127.0.0.1:0']\n"+withCerts(dir))
	certWarnings := func() string {
		return strings.Join(slices.DeleteFunc(ids(s.report.status().Warnings), func(id string) bool { return !strings.HasPrefix(id, "certificate.") }), " ")
	}
	if got := certWarnings(); got != "certificate.soon" || !strings.Contains(s.log.String(), "the certificate expires soon, on ") {
		t.Errorf("of one that expires tomorrow: %q\n%s", got, s.log.String())
	}
	// The key is another one's, then the certificate is gone: the old pair stays, and both are said once.
	other := t.TempDir()
	putPair(t, other, 2, nil)
	if err := os.Rename(filepath.Join(other, "key.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	s.reloadTo("[turn]\nlisten_tls = ['127.0.0.1:0']\n" + withCerts(dir))
	if got := certWarnings(); got != "certificate.soon certificate.kept" || !strings.Contains(s.log.String(), "this key does not belong to the certificate") {
		t.Errorf("of a wrong key: %q\n%s", got, s.log.String())
	}
	if err := os.Remove(filepath.Join(dir, "cert.pem")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is missed", func() bool {
		return strings.Contains(s.log.String(), "cert.pem: no such file or directory; the certificate in use stays")
	})
	if got := s.serialOf(); got != 1 || certWarnings() != "certificate.soon certificate.kept" {
		t.Errorf("certificate %d is shown, %q", got, certWarnings())
	}
	putPair(t, dir, 3, nil)
	eventually(t, "the new one is found", func() bool { return certWarnings() == "" })
	if got := s.serialOf(); got != 3 {
		t.Errorf("certificate %d is shown", got)
	}
	if n := strings.Count(s.log.String(), "no such file"); n != 1 {
		t.Errorf("said %d times:\n%s", n, s.log.String())
	}
}

// A certificate that cannot be used at the start leaves all else to be served.
func TestUnusableCertificateAtTheStart(t *testing.T) {
	dir := t.TempDir()
	putPair(t, dir, 1, nil)
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSite(t, "[turn]\nlisten_tls = ['127.0.0.1:0']\n"+withCerts(dir))
	ready := func() (int, string) {
		resp, err := http.Get("http://" + s.guard.Addr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	metric := func(want string) bool {
		rec := httptest.NewRecorder()
		s.report.meters.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		return strings.Contains(rec.Body.String(), "\ncrolang_aio_certificate_ok "+want+"\n")
	}
	eventually(t, "it is ready", func() bool { status, _ := ready(); return status == http.StatusOK })
	if !metric("0") {
		t.Error("no metric says so")
	}
	if _, body := ready(); !strings.Contains(body, `"degraded":["certificate"]`) {
		t.Error(body)
	}
	if !s.warns("certificate.unusable")() || !strings.Contains(s.log.String(), "key.pem: holds no PEM private key; until that is mended") {
		t.Errorf("not said:\n%s", s.log.String())
	}
	if c := s.report.status().Certificate; c.Kind != "files" || !c.StandIn || c.Source != "self-signed" {
		t.Errorf("%+v", c)
	}
	if urls := strings.Join(s.report.status().URLs, " "); strings.Contains(urls, "turns:") || !strings.Contains(urls, "turn:") {
		t.Error(urls)
	}
	s.allocate(s.client("a"))
	s.serialOf() // TLS answers
	putPair(t, dir, 3, nil)
	eventually(t, "the right pair is found", func() bool { _, body := ready(); return !strings.Contains(body, "degraded") })
	if got := s.serialOf(); got != 3 || s.warns("certificate.unusable")() || !metric("1") {
		t.Errorf("certificate %d is shown", got)
	}
}

func (s *site) warns(id string) func() bool {
	return func() bool { return slices.Contains(ids(s.report.status().Warnings), id) }
}

func TestClockBehindTheLastUse(t *testing.T) {
	dir := t.TempDir()
	lock, later := filepath.Join(dir, "lock"), time.Now().Add(time.Hour)
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(lock, later, later); err != nil {
		t.Fatal(err)
	}
	s := startSite(t, "data_dir = '"+dir+"'\n")
	if !s.warns("clock.behind")() || !strings.Contains(s.log.String(), "and data_dir was last used at "+later.UTC().Format("2006-01-02T15:04")) {
		t.Errorf("%+v\n%s", s.report.status().Warnings, s.log.String())
	}
	st, err := os.Stat(lock)
	if err != nil || st.ModTime().After(time.Now()) {
		t.Errorf("%v %v", st, err)
	}
}

func TestClockOfTheUpstream(t *testing.T) {
	var shift atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Duration(shift.Load())).UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte(`{"authenticated":true}`))
	}))
	defer upstream.Close()
	s := startSite(t, "[hooks.authenticate]\nmode = 'upstream'\n[hooks.upstream]\nauthenticate_url = '"+upstream.URL+"'\n")
	for _, c := range []struct {
		shift time.Duration
		says  string
	}{{0, ""}, {time.Hour, "this machine's clock is 1h0m0s behind that of hooks.upstream"}, {0, ""}, {-time.Hour, "this machine's clock is 1h0m0s ahead of that"}} {
		shift.Store(int64(c.shift))
		if _, text := s.post("/authenticate-node", `{"id":"Alice","data":"x"}`, ""); !strings.Contains(text, `"authenticated":true`) {
			t.Fatal(text)
		}
		if s.warns("clock.upstream")() != (c.says != "") || !strings.Contains(s.log.String(), c.says) {
			t.Errorf("%v: %+v", c.shift, s.report.status().Warnings)
		}
	}
}

func TestDataDirOfAnotherUser(t *testing.T) {
	dir := t.TempDir()
	if os.Chown(dir, 1, 1) != nil {
		t.Skip("only root can give a folder away")
	}
	cfg, err := config.Load("", config.WithEnviron([]string{"CROLANG_AIO_DATA_DIR=" + dir}))
	if err != nil {
		t.Fatal(err)
	}
	log, err := logging.New(io.Discard, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg, log, Pace{}); err == nil || !strings.Contains(err.Error(), "belongs to the user with id 1, whose secrets root does not take") {
		t.Errorf("err = %v", err)
	}
}

// A secret that others could read is closed to them, and that is told.
func TestOpenSecretIsClosed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials.secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("ab", 32)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	s := startSite(t, "data_dir = '"+dir+"'\n")
	if !s.warns("data_dir.open")() || !strings.Contains(s.log.String(), file+" could be read by every user of this machine") {
		t.Errorf("%+v\n%s", s.report.status().Warnings, s.log.String())
	}
}

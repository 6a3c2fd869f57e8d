package app

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// The admin listener speaks HTTPS with the program's own certificate, also after a reload has renewed that; the commands trust it,
// and nobody else's.
func TestAdminOverTLS(t *testing.T) {
	s := startSite(t, "[admin]\ntls = true\n")
	at := *s.cfg()
	at.Admin.Listen = s.guard.Addr().String()
	shown := func() string {
		c, err := tls.Dial("tcp", at.Admin.Listen, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return strings.Join(c.ConnectionState().PeerCertificates[0].DNSNames, " ")
	}
	asks := func(cfg config.Config) error {
		base, client, err := AdminClient(&cfg, "")
		if err != nil || !strings.HasPrefix(base, "https://") {
			t.Fatal(base, err)
		}
		status, err := client.Status(t.Context())
		for _, l := range status.Listeners {
			if l.Part == "admin" && l.Transport != "https" {
				t.Errorf("listener %+v", l)
			}
		}
		return err
	}
	if err := asks(at); err != nil {
		t.Fatal(err)
	}
	before := shown()
	s.reloadTo("[admin]\ntls = true\n[certs]\nhosts = ['admin.example.org']\n")
	if after := shown(); after == before || !strings.Contains(after, "admin.example.org") {
		t.Errorf("the certificate is for %q, and was for %q", after, before)
	}
	if err := asks(at); err != nil {
		t.Errorf("after the reload: %v", err)
	}
	elsewhere := at
	elsewhere.DataDir = t.TempDir()
	if err := asks(elsewhere); err == nil || !strings.Contains(err.Error(), "is not trusted") {
		t.Errorf("without the certificate: %v", err)
	}
	plain, err := adminapi.NewClient("http://"+at.Admin.Listen, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "set admin.tls = true here too") {
		t.Errorf("plain HTTP: %v", err)
	}
	resp, err := http.Get("http://" + at.Admin.Listen + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 400 || !strings.Contains(string(text), "HTTPS") {
		t.Errorf("%d %s, %v", resp.StatusCode, text, err)
	}
	if all := strings.Join(s.report.dashboards(), " "); !strings.HasPrefix(all, "https://127.0.0.1:") {
		t.Errorf("dashboards %s", all)
	}
}

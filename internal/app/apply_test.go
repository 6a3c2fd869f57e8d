package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
)

// state is all of a running process that a reload can change, as a text.
func (s *site) state() string {
	s.t.Helper()
	hold := s.now.Load()
	cred, err := s.keys.Issue("Alice", time.Hour, time.Unix(0, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	code, answer := s.post("/authenticate-node", `{"id":"Alice","data":"x"}`, "")
	rtc, err := s.decider.TestConfiguration("Alice")
	if err != nil {
		s.t.Fatal(err)
	}
	entries, err := os.ReadDir(s.dir.Path())
	if err != nil {
		s.t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		files = append(files, e.Name())
	}
	rtcText, _, _ := strings.Cut(string(rtc), `"username"`)
	return fmt.Sprintf("%p %v %+v\n%s\n%d %s\n%s\n%v\n%s\n%v\n%v\n%v\n%v", hold.cfg, hold.public, hold.secrets, cred.Password, code, answer, rtcText,
		s.peers.Check(netip.MustParseAddr("5.9.8.7")), s.certs.Info().Fingerprint, s.addresses.Current(), s.told.load().all(),
		s.App.log.Enabled(context.Background(), slog.LevelDebug), files)
}

// Every part can refuse the next configuration. Whichever does, nothing at all has changed, and what all of them found is
// told at once.
func TestNothingChangesWhenAPartRefuses(t *testing.T) {
	s := startSite(t, "")
	// This configuration would change every part.
	_, line, err := policy.NewTokenLine("Alice")
	if err != nil {
		t.Fatal(err)
	}
	s.write("[log]\nlevel = 'debug'\n[public]\nhost = 'turn.example.org'\nipv4 = '127.0.0.2'\n[turn]\nsoftware = 'new'\n" +
		"[turn.peers]\ndeny = ['5.9.8.7']\n[credentials]\nsecret = 'another secret, which is long enough'\n" +
		"[hooks]\ntoken = 'a-new-token'\n[hooks.rtc]\nbundle_policy = 'balanced'\n[hooks.authenticate]\nmode = 'tokens'\n" +
		fmt.Sprintf("tokens = [%q]\n", line) + "[certs]\nhosts = ['more.example.org']\n")
	good, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	refusals := map[string]struct {
		spoil func(*config.Config)
		says  string
	}{
		"addresses":   {func(c *config.Config) { c.Public.IPv6 = "2001:db8::1" }, "public.ipv6: 2001:db8::1"},
		"secrets":     {func(c *config.Config) { c.Admin.Listen = "0.0.0.0:0" }, "admin.token"},
		"credentials": {func(c *config.Config) { c.Credentials.Secret = config.Secret{}; c.Hooks.Listen = "0.0.0.0:1" }, "credentials.secret"},
		"webhooks":    {func(c *config.Config) { c.Hooks.RTC.BundlePolicy = "none" }, "none"},
		"policies":    {func(c *config.Config) { c.Hooks.Authenticate.Tokens = []string{"no token"} }, "hooks.authenticate.tokens"},
		"peers":       {func(c *config.Config) { c.Turn.Peers.Deny = []string{"nowhere"} }, "turn.peers.deny"},
		"certificate": {func(c *config.Config) { c.Certs.CertFile, c.Certs.KeyFile = "none.pem", "none.key" }, "none.pem"},
		"relays":      {func(c *config.Config) { c.Public.IPv4, c.Public.IPv6 = "off", "off" }, "there is no address for relays"},
		"log":         {func(c *config.Config) { c.Log.Format = "xml" }, "log.format"},
	}
	// A folder where a secret should be cannot be read as one.
	for _, name := range []string{datadir.AdminToken, datadir.CredentialSecret} {
		_ = os.Rename(filepath.Join(s.dir.Path(), name), filepath.Join(s.dir.Path(), name+".away"))
		if err := os.Mkdir(filepath.Join(s.dir.Path(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := s.state()
	for name, r := range refusals {
		next := *good
		r.spoil(&next)
		err := s.Apply(t.Context(), &next)
		if err == nil || !strings.Contains(err.Error(), r.says) {
			t.Fatalf("%s: %v, want one about %s", name, err, r.says)
		}
		if after := s.state(); after != before {
			t.Errorf("%s has refused it, and yet\n%s\nhas become\n%s", name, before, after)
		}
	}
	all := *good
	for _, name := range []string{"addresses", "secrets", "webhooks", "policies", "peers", "certificate", "log"} {
		refusals[name].spoil(&all)
	}
	err = s.Apply(t.Context(), &all)
	for _, name := range []string{"addresses", "secrets", "webhooks", "policies", "peers", "certificate", "log"} {
		if err == nil || !strings.Contains(err.Error(), refusals[name].says) {
			t.Errorf("%s is not among what is wrong: %v", name, err)
		}
	}
	if after := s.state(); after != before {
		t.Errorf("everything was refused, and yet\n%s\nhas become\n%s", before, after)
	}
	// The addresses are not held up: what is good holds.
	if err := s.Apply(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if got := s.now.Load(); got.cfg != good || got.public.Host != "turn.example.org" || !slices.Contains(s.told.load().turn, "turn:turn.example.org:"+portOf(s)+"?transport=udp") {
		t.Errorf("%+v, told %v", got, s.told.load().all())
	}
}

func portOf(s *site) string {
	for _, l := range s.turn.Listeners() {
		if l.Transport == "udp" {
			return fmt.Sprint(l.Addr.Port())
		}
	}
	return ""
}

package app

import (
	"regexp"
	"strings"
	"testing"
)

// Whoever starts it for the first time wants to see it, and may have to sign in.
func TestAnnounceDashboard(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"loopback":       {"", `http://127\.0\.0\.1:\d+/\n`},
		"generated":      {"[admin]\nlisten = '0.0.0.0:0'\n", `http://127\.0\.0\.1:\d+/ \(its token: \S+/data/admin\.token\)\n`},
		"own token":      {"[admin]\ntoken = '0123456789abcdef0123456789abcdef'\n", `http://127\.0\.0\.1:\d+/ \(its token: admin\.token of the configuration\)\n`},
		"by public.host": {"[public]\nhost = 'localhost'\n[admin]\nlisten = '0.0.0.0:0'\nallow_no_token = true\n", `http://localhost:\d+/\n`},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, c.config+"[log]\nformat = 'text'\n")
			var b strings.Builder
			s.report.announce(s.App.log, &b, "")
			if !strings.HasPrefix(b.String(), "Nodes connect to http://127.0.0.1:") || strings.Contains(b.String(), "NODES_AUTHENTICATION_WEBHOOK_URL") {
				t.Errorf("%s", b.String())
			}
			if want := regexp.MustCompile(`\nDashboard:\n  ` + c.want); !want.MatchString(b.String()) {
				t.Errorf("%s\nlacks %s", b.String(), want)
			}
			if token := s.now.Load().secrets.admin; token != "" && strings.Contains(b.String(), token) {
				t.Error("the token itself is told")
			}
		})
	}
}

// Broker containers are told what they need where they are needed.
func TestAnnounceBrokers(t *testing.T) {
	s := startSite(t, "[broker]\nenabled = false\n[log]\nformat = 'text'\n")
	var b strings.Builder
	s.report.announce(s.App.log, &b, "")
	if s.broker != nil || strings.Contains(b.String(), "Nodes connect") || !strings.Contains(b.String(), "NODES_AUTHENTICATION_WEBHOOK_URL=http://127.0.0.1:") {
		t.Errorf("%s", b.String())
	}
}

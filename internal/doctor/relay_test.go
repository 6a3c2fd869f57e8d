package doctor

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestRelays(t *testing.T) {
	cases := []struct {
		name   string
		r      relays
		status Status
		check  string
		texts  []string
	}{
		{"nothing comes in", relays{dropIn: true}, Fail, "peer", []string{"only one direction: what the relay sends arrives", "nothing comes back", "open the UDP relay ports"}},
		{"nothing goes out", relays{dropOut: true}, Fail, "peer", []string{"only one direction: what is sent to the relayed address", "outgoing UDP"}},
		{"nothing at all", relays{dropIn: true, dropOut: true}, Fail, "peer", []string{"nothing is relayed", "open the UDP relay ports"}},
		{"nothing between two", relays{dropIn: true}, Fail, "relay", []string{"allocations work, but nothing is relayed between two"}},
		{"wrong address told", relays{told: "127.0.0.77"}, Fail, "peer", []string{"only one direction", "from 127.0.0.1", "that is told, 127.0.0.77", "set the public address to 127.0.0.1"}},
		{"peers forbidden", relays{refusePeers: true}, Fail, "relay", []string{"peer forbidden (403)"}},
		{"quota of one", relays{quota: 1}, Warn, "relay", []string{"a second allocation is refused", "486"}},
		{"quota of none", relays{quota: -1}, Fail, "allocate", []string{"quota", "486"}},
	}
	var targets []Target
	urls := make([][]string, len(cases))
	for i, c := range cases {
		udp, tcp := turnServer(t, c.r, nil)
		urls[i] = []string{"turn:" + udp, "turn:" + tcp + "?transport=tcp"}
		if c.r.quota > 0 {
			urls[i] = urls[i][:1] // the second URL would find none left
		}
		for _, url := range urls[i] {
			targets = append(targets, Target{url, user, password})
		}
	}
	all := examine(t, Config{Parallel: len(targets)}, targets...)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, url := range urls[i] {
				want(t, about(all, url), c.status, c.check, c.texts...)
			}
		})
	}
}

func TestRelayedAddress(t *testing.T) {
	for _, c := range []struct{ server, relayed, bad string }{
		{"203.0.113.1", "203.0.113.2", ""},
		{"203.0.113.1", "10.0.0.5", "10.0.0.5 is a private address"},
		{"203.0.113.1", "100.64.0.5", "a private address"},
		{"203.0.113.1", "127.0.0.1", "a loopback address"},
		{"10.0.0.1", "127.0.0.1", "a loopback address"},
		{"10.0.0.1", "10.0.0.1", ""},
		{"10.0.0.1", "203.0.113.1", ""},
		{"127.0.0.1", "127.0.0.1", ""},
		{"2001:db8::1", "fd00::1", "a private address"},
		{"2001:db8::1", "fe80::1", "a link-local address"},
		{"127.0.0.1", "224.0.0.1", "not an address that a host can have"},
	} {
		why := judgeRelayed(netip.MustParseAddr(c.server), netip.MustParseAddr(c.relayed))
		if (why == nil) != (c.bad == "") || why != nil && (!strings.Contains(why.detail, c.bad) || why.remedy == "") {
			t.Errorf("%s told by %s: %+v, want %q", c.relayed, c.server, why, c.bad)
		}
	}
}

func TestOneAddressOfTwoIsDead(t *testing.T) {
	udp, _ := turnServer(t, relays{}, nil)
	got := examine(t, Config{Lookup: at("127.0.0.1", "127.0.0.99")}, Target{"turn:turn.test:" + portOf(udp), user, password})
	want(t, got, Warn, "connect", "127.0.0.99", "refused", "take this address out")
	want(t, got, OK, "relay", "both ways")
	wantNo(t, got, Fail)
}

func TestTimeLimitAndInterruption(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	udp, _ := turnServer(t, relays{}, nil)
	cfg := Config{Patience: time.Hour, Targets: []Target{{"turn:" + silent.LocalAddr().String(), user, password}, {URL: "stun:" + udp}}}
	for _, c := range []struct {
		text string
		ctx  func() (context.Context, context.CancelFunc)
	}{
		{"time limit", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 300*time.Millisecond)
		}},
		{"interrupted", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(300*time.Millisecond, cancel)
			return ctx, cancel
		}},
	} {
		ctx, cancel := c.ctx()
		defer cancel()
		var got []Finding
		Run(ctx, cfg, func(f Finding) { got = append(got, f) })
		if len(got) < 2 || got[0].Check != "time" || !strings.Contains(got[0].Detail, c.text) {
			t.Errorf("want one that was not finished, and then what was:\n%s", text(got))
		}
	}
}

func TestURLs(t *testing.T) {
	for _, c := range []struct {
		text, host, transport string
		port                  uint16
		turn, bad             bool
	}{
		{"stun:a.example", "a.example", "udp", 3478, false, false},
		{"turn:a.example:1234", "a.example", "udp", 1234, true, false},
		{"turn:a.example?transport=tcp", "a.example", "tcp", 3478, true, false},
		{"turns:a.example", "a.example", "tls", 5349, true, false},
		{"turns:[2001:db8::1]?transport=udp", "2001:db8::1", "dtls", 5349, true, false},
		{"TURN:[2001:db8::1]:99", "2001:db8::1", "udp", 99, true, false},
		{"stuns:1.2.3.4", "1.2.3.4", "tls", 5349, false, false},
		{"turn:2001:db8::1", "", "", 0, false, true},
		{"http://a.example", "", "", 0, false, true},
		{"turn:alice:hunter2@a.example", "", "", 0, false, true},
		{"turn:a.example?transport=sctp", "", "", 0, false, true},
		{"turn:a.example:0", "", "", 0, false, true},
		{"turn:a.example:99999", "", "", 0, false, true},
		{"turn", "", "", 0, false, true},
		{"", "", "", 0, false, true},
	} {
		u, err := parseURL(c.text)
		if (err != nil) != c.bad || err == nil && (u.host != c.host || u.transport != c.transport || u.port != c.port || u.turn != c.turn) {
			t.Errorf("%s: %+v, %v", c.text, u, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Error("a password was quoted")
		}
	}
}

func TestPrintIsOneSafeLine(t *testing.T) {
	var b strings.Builder
	if err := Print(&b, Finding{Check: "stun", Status: Fail, Detail: "it said \x1b[31m\nred", Remedy: "do", URL: "turn:x"}, false); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "fail  stun         turn:x  it said \\x1b[31m\\nred -> do\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.Reset()
	if err := Print(&b, Finding{Detail: strings.Repeat("ü", 1e6), URL: strings.Repeat("x", 1e6), Remedy: "do"}, false); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); len(got) > 5000 || !strings.HasSuffix(got, "…  "+strings.Repeat("ü", 1000)+"… -> do\n") {
		t.Errorf("%d bytes", len(got))
	}
}

package admin

import (
	"context"
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
)

// turn runs a TURN server on loopback until the test ends, and returns what makes RTC configurations for it, with a URL at
// their end where nothing listens.
func turn(t *testing.T, registry *nodes.Registry) func(node string) (json.RawMessage, error) {
	t.Helper()
	keys, err := credential.NewKeyring(strings.Repeat("k", 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := peers.New(peers.Config{Deny: []string{"recommended"}})
	if err != nil {
		t.Fatal(err)
	}
	loopback := turnsrv.Family{Bind: netip.MustParseAddr("127.0.0.1"), Advertise: netip.MustParseAddr("127.0.0.1")}
	server, err := turnsrv.New(turnsrv.Config{
		Listen: []string{"127.0.0.1:0"}, Transports: []string{"udp", "tcp"}, Realm: "test", IPv4: loopback, PortMin: 45000, PortMax: 48999,
		Settings: control.Settings{MaxSession: time.Hour}, Keys: keys, Peers: policy, Nodes: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	udp, tcp := "", ""
	for _, l := range server.Listeners() {
		switch l.Transport {
		case "udp":
			udp = l.Addr.String()
		case "tcp":
			tcp = l.Addr.String()
		}
	}
	return func(node string) (json.RawMessage, error) {
		c, err := keys.Issue(node, time.Hour, time.Now())
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string]any{"iceServers": []map[string]any{
			{"urls": []string{"stun:" + udp}},
			{
				"urls":     []string{"turn:" + udp + "?transport=udp", "turn:" + tcp + "?transport=tcp", "turn:127.0.0.1:1?transport=tcp"},
				"username": c.Username, "credential": c.Password, "password": c.Password,
			},
		}})
	}
}

// TestDashboardBrowserTest lets the page test a real TURN server: once as it should be, once with its Node banned.
func TestDashboardBrowserTest(t *testing.T) {
	var rtc func(node string) (json.RawMessage, error)
	s := serve(t, "", func(c *Config) {
		c.RTC = func(node string) (json.RawMessage, error) { return rtc(node) }
	})
	rtc = turn(t, s.registry)
	p := openPage(t, "--disable-features=WebRtcHideLocalIpsWithMdns", "--disable-quic")
	p.size(1280, 900, false)
	p.open(s.url + "/#/test")
	heading(p, "Browser test")
	p.eval(`document.querySelector("#start-test").click()`)
	p.wait(`document.querySelector("#test-state").textContent.startsWith("Done")`)
	p.shot("test-done")
	text := p.eval(`[...document.querySelectorAll("tbody tr")].map((r) => [...r.children].map((c) => c.textContent).join("; ")).join("\n")`)
	var lines string
	if err := json.Unmarshal([]byte(text), &lines); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + lines)
	for _, want := range []string{
		`(?m)^stun:.*; works `,
		`(?m)^turn:.*transport=udp; .*127\.0\.0\.1:4\d+; [\d.]+ ms; [\d.]+ [kMG]B/s; works .*\(udp\)`,
		`(?m)^turn:.*transport=tcp; .*127\.0\.0\.1:4\d+; [\d.]+ ms; [\d.]+ [kMG]B/s; works .*\(tcp\)`,
		`(?m)^turn:127\.0\.0\.1:1\?.*; none; –; –; fails No answer: nothing listens there`,
	} {
		if !regexp.MustCompile(want).MatchString(lines) {
			t.Errorf("%s is not in\n%s", want, lines)
		}
	}
	checkAccessibility(p, axeCore(t), "test results")
	p.clean()

	if _, err := s.registry.Ban(testNode, "", 0); err != nil {
		t.Fatal(err)
	}
	p.eval(`document.querySelector("#start-test").click()`)
	p.wait(`!document.querySelector("#test-state").textContent.startsWith("Done")`)
	p.wait(`document.querySelector("#test-state").textContent === "Done: 1 of 4 URLs work from this browser."`)
	p.shot("test-banned")
	if got := p.eval(`document.querySelectorAll("tbody tr")[1].innerText`); !strings.Contains(got, "refused the credential") || !strings.Contains(got, "banned") {
		t.Errorf("the cause is not told: %s", got)
	}
}

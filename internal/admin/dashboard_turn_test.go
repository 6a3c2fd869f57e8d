package admin

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// browserConfiguration is an RTC configuration for a TURN server, with a URL at its end where nothing listens.
func browserConfiguration(server *turnServer, node string) (json.RawMessage, error) {
	c := server.credential(node)
	udp, tcp := server.address("udp"), server.address("tcp")
	return json.Marshal(map[string]any{"iceServers": []map[string]any{
		{"urls": []string{"stun:" + udp}},
		{
			"urls":     []string{"turn:" + udp + "?transport=udp", "turn:" + tcp + "?transport=tcp", "turn:127.0.0.1:1?transport=tcp"},
			"username": c.Username, "credential": c.Password, "password": c.Password,
		},
	}})
}

// TestDashboardBrowserTest lets the page test a real TURN server: once as it should be, once with its Node banned.
func TestDashboardBrowserTest(t *testing.T) {
	var server *turnServer
	s := serve(t, "", func(c *Config) {
		c.RTC = func(node string) (json.RawMessage, error) { return browserConfiguration(server, node) }
	})
	server = startTURN(t, s.registry)
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
		`(?m)^turn:.*transport=udp; .*127\.0\.0\.1:2\d{4}; [\d.]+ ms; [\d.]+ [kMG]B/s; works .*\(udp\)`,
		`(?m)^turn:.*transport=tcp; .*127\.0\.0\.1:2\d{4}; [\d.]+ ms; [\d.]+ [kMG]B/s; works .*\(tcp\)`,
		`(?m)^turn:127\.0\.0\.1:1\?.*; none; –; –; fails No answer: nothing listens there`,
	} {
		if !regexp.MustCompile(want).MatchString(lines) {
			t.Errorf("%s is not in\n%s", want, lines)
		}
	}
	p.wait(`document.querySelectorAll(".verdict .good").length === 3 && document.querySelector(".verdict").textContent.includes("Where UDP is blocked, the relay over TCP works")`)
	checkAccessibility(p, axeCore(t), "test results")
	p.clean()

	if _, err := s.registry.Ban(nodeid.Dashboard, "", 0); err != nil {
		t.Fatal(err)
	}
	p.eval(`document.querySelector("#start-test").click()`)
	p.wait(`!document.querySelector("#test-state").textContent.startsWith("Done")`)
	p.wait(`document.querySelector("#test-state").textContent === "Done: 1 of 4 URLs work from this browser. A Node needs only one that does."`)
	p.shot("test-banned")
	if got := p.eval(`document.querySelectorAll("tbody tr")[1].textContent`); !strings.Contains(got, "refused the credential") || !strings.Contains(got, "banned") {
		t.Errorf("the cause is not told: %s", got)
	}
}

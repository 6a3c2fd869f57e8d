package admin

import (
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/losses"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

func TestDashboardFiles(t *testing.T) {
	s := serve(t, "0123abcd", nil)
	s.token = "" // the files need none
	status, header, index := s.do("GET", "/", "")
	if status != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%d %v", status, header)
	}
	if regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|style=|\son\w+=|https?://`).MatchString(index) {
		t.Error("the page has inline script or style, or something from elsewhere")
	}
	names, err := fs.Glob(web, "web/*")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, name := range names {
		known[strings.TrimPrefix(name, "web/")] = true
	}
	for name := range known {
		at := "/assets/" + name
		switch name {
		case "index.html":
			continue
		case "try.html":
			at = "/try"
		}
		status, header, body := s.do("GET", at, "")
		if status != 200 || header.Get("Content-Type") == "" || header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(header.Get("Content-Type"), "octet") {
			t.Errorf("%s: %d %v", name, status, header)
		}
		for _, m := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(body, -1) {
			if !known[m[1]] {
				t.Errorf("%s imports %s, which is not there", name, m[1])
			}
		}
		if regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(`).MatchString(body) {
			t.Errorf("%s makes HTML of text", name)
		}
		if again, _, _ := s.do("GET", at, "", "If-None-Match", header.Get("Etag")); again != 304 {
			t.Errorf("%s: %d where it has not changed", name, again)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="assets/([^"]+)"`).FindAllStringSubmatch(index, -1) {
		if !known[m[1]] {
			t.Errorf("the page wants %s, which is not there", m[1])
		}
	}
	s.want("GET", "/index.html", "", 404, `{"error":"no such path"}`)
	s.want("GET", "/assets/", "", 404, `{"error":"no such path"}`)
	s.want("POST", "/", "{}", 405, `{"error":"this path takes GET"}`)
}

// hostile is an id that would do harm where it were read as HTML, or confuse where it were shown as it is.
const hostile = `<img src=x onerror="window.hacked=1">` + "\u202egnp.exe"

// lively serves a dashboard with something to see in it.
func lively(t *testing.T, token string) *server {
	var seconds atomic.Uint64
	now := time.Now().UTC()
	kept := stories.New()
	for _, x := range []stories.Signal{
		{From: "Bob", To: hostile, Event: stories.Attempt, Answer: stories.OK}, {From: "Bob", To: hostile, Event: stories.ToAsked, Answer: stories.OK, Candidates: map[string]int{"srflx": 1}},
		{From: hostile, To: "Bob", Event: stories.Refusal, Answer: stories.OK}, {From: "Bob", To: "Alice", Event: stories.Message, Answer: stories.OK, Bytes: 1500},
	} {
		x.At = now.Add(-time.Minute)
		kept.Note(x)
	}
	s := serve(t, token, func(c *Config) {
		link := adminapi.BrokerLink{From: netip.MustParseAddr("198.51.100.7"), Runtime: "JVM", Version: "1.0" + hostile, Since: now.Add(-time.Hour), Attempts: 1, SentBytes: 1500, RoundTrip: 12.34}
		c.Broker, c.Stories = atBroker{"Bob": link, hostile: link}, kept
		c.Status = func() adminapi.Status {
			return adminapi.Status{
				NodesURL: "http://127.0.0.1:8080",
				Version:  "1.2.3", Commit: "abcdef0", Go: "go1.26.8", Started: now.Add(-26 * time.Hour),
				Listeners: []adminapi.Listener{
					{Part: "turn", Transport: "udp", Address: "0.0.0.0:3478"}, {Part: "turn", Transport: "tcp", Address: "0.0.0.0:3478"}, {Part: "turn", Transport: "tls", Address: "0.0.0.0:5349"},
					{Part: "hooks", Transport: "http", Address: "127.0.0.1:8083"}, {Part: "admin", Transport: "http", Address: "127.0.0.1:8084"},
				},
				URLs:   []string{"stun:turn.example.org:3478", "turn:turn.example.org:3478?transport=udp", "turn:turn.example.org:3478?transport=tcp"},
				Public: adminapi.Public{Host: "turn.example.org", IPv4: "203.0.113.5"},
				Certificate: &adminapi.Certificate{
					Source: "data/cert.pem", Names: []string{"localhost", "turn.example.org"}, SelfSigned: true,
					NotBefore: now.Add(-300 * 24 * time.Hour), NotAfter: now.Add(20 * 24 * time.Hour),
				},
				Policy:    map[string]uint64{"messages forwarded": 1234},
				Limits:    map[string]int64{"turn.limits.allocations": 0, "turn.limits.allocations_per_node": 128},
				BrokerEnv: []string{"NODES_AUTHENTICATION_WEBHOOK_URL=http://broker:TOKEN@10.0.0.2:8083/authenticate-node", "NODE_OPTIONS=--unhandled-rejections=warn"},
				Warnings:  []findings.Finding{{ID: "public.private", Detail: "public.host is a private address", Remedy: "set an address that clients on the Internet reach"}},
			}
		}
		c.Losses = func() []losses.Count {
			return []losses.Count{
				{Area: losses.Connections, Cause: "over_share", N: 72}, {Area: losses.Datagrams, Cause: "moon_phase", N: 3},
				{Area: losses.Datagrams, Cause: "no_channel"}, {Area: losses.Requests, Cause: "no_port", N: 5},
			}
		}
		c.Figures = func() []adminapi.Figure {
			return []adminapi.Figure{{Name: "Questions answered from the cache", Value: 4321}}
		}
		c.Turn = func() adminapi.TurnStats {
			n := seconds.Add(1)
			return adminapi.TurnStats{
				Transports: []adminapi.TransportStats{
					{Transport: "udp", Allocations: 2, Opened: 12, In: adminapi.Flow{Datagrams: n * 900, Bytes: n*1_200_000 + (n%7)*90_000}, Out: adminapi.Flow{Datagrams: n * 800, Bytes: n*800_000 + (n%5)*70_000}},
					{Transport: "tls", Allocations: 1, Opened: 3},
				},
				Refusals: []adminapi.Refusal{{Code: 401, Cause: "expired", Count: 17}, {Code: 486, Cause: "node_full", Count: 2}, {Code: 403, Cause: "peer_denied", Count: 5}},
				Drops:    map[string]uint64{"no_permission": 33},
			}
		}
	})
	s.admin.tick = 100 * time.Millisecond // so that the plot fills
	s.registry.Validated([]string{"Alice", "Bob", hostile})
	s.relays.letsIn = map[string]netip.Addr{"a1": netip.MustParseAddr("198.51.100.7")} // Bob's allocation lets the other in
	for i, id := range []string{"Alice", "Bob", hostile} {
		s.registry.Issued(id, now.Add(12*time.Hour))
		s.registry.SeenAt(id, netip.MustParseAddr("198.51.100.7"))
		s.registry.Opened(id, "allocation 203.0.113.5:50123 over udp from 198.51.100.7:4000 for 600 s")
		a := allocation(fmt.Sprint("a", i), id)
		a.Created, a.Expires = now.Add(-3*time.Minute), now.Add(7*time.Minute)
		s.relays.list = append(s.relays.list, a)
	}
	for range 3 {
		s.registry.Refused("Bob", "peer 10.0.0.5 refused: private address, see turn.peers.allow")
	}
	if _, err := s.registry.Ban("Mallory", "spam", time.Hour); err != nil {
		t.Fatal(err)
	}
	return s
}

// heading waits for a view to be shown.
func heading(p *page, text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`document.querySelector("h1")?.textContent === %q`, text))
}

var views = []struct{ path, heading, ready string }{
	{"overview", "Overview", `document.querySelectorAll(".big")[1].textContent === "3" && document.querySelector(".line.in").getAttribute("d").length > 100`},
	{"nodes", "Nodes", `document.querySelectorAll("tbody tr").length === 4`},
	{"node?id=Bob", "Bob", `document.querySelectorAll(".event").length === 5 && document.querySelectorAll(".attempt .problem").length === 1 && document.querySelector(".a-known").textContent.includes("12.3 ms")`},
	{"story?id=Bob&with=" + url.QueryEscape(hostile), "Story of two Nodes", `document.querySelectorAll("tbody tr").length === 9 &&
		document.querySelector(".lead.bad").textContent === "The other Node did not accept." && document.querySelectorAll(".tag.bad").length === 1`},
	{"allocations", "Allocations", `document.querySelectorAll("tbody tr").length === 3`},
	{"bans", "Bans", `document.querySelectorAll("tbody tr").length === 1`},
	{"setup", "Set-up", `document.querySelector("pre").textContent.includes("NODE_OPTIONS") && document.querySelector("#main").textContent.includes("messages forwarded1,234")`},
	{"test", "Browser test", `document.querySelector("#start-test")`},
}

func TestDashboardViews(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/")
	p.wait(`document.querySelector("#state").textContent === "Ready"`)
	s.registry.Refused("Bob", "allocation refused: 128 of 128 in use")
	s.registry.Refused(hostile, "allocation refused: credential expired 42 s ago")
	p.wait(`document.body.innerText.includes("128 of 128 in use")`)
	p.wait(`[...document.querySelectorAll("table")].some((t) => t.caption?.textContent.startsWith("Displaced") && t.rows.length === 3 &&
		t.rows[1].textContent.includes("72") && t.rows[1].textContent.includes("turn.limits.connections_per_ip") && t.rows[2].textContent.includes("moon_phase"))`)
	p.wait(`[...document.querySelectorAll("tr")].some((r) => r.textContent.includes("answered from the cache") && r.textContent.includes("4,321"))`)
	axe := axeCore(t)
	for _, look := range []struct {
		name          string
		width, height int
		dark          bool
	}{{"desktop", 1280, 900, false}, {"desktop-dark", 1280, 900, true}, {"phone", 390, 844, false}, {"phone-dark", 390, 844, true}} {
		p.size(look.width, look.height, look.dark)
		for _, v := range views {
			p.eval(fmt.Sprintf(`location.hash = "#/%s"`, v.path))
			heading(p, v.heading)
			p.wait(v.ready)
			if over := p.eval(`document.documentElement.scrollWidth - innerWidth`); over[0] != '-' && over != "0" {
				t.Errorf("%s, %s: the page is %s pixels wider than the screen", look.name, v.path, over)
			}
			checkAccessibility(p, axe, look.name+" "+v.path)
			shot, _, _ := strings.Cut(v.path, "&")
			p.shot(look.name + "-" + strings.NewReplacer("?", "-", "=", "-").Replace(shot))
		}
	}
	if p.eval("typeof window.hacked") != `"undefined"` {
		t.Error("a Node's id was run as a script")
	}
	p.clean()
}

func TestDashboardActions(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/#/node?id=Alice")
	p.wait(`document.querySelector('button[data-node="Alice"]')`)

	// A ban by the keyboard alone: the button has the focus, Enter opens the dialog, which has it then.
	p.eval(`document.querySelector('button[data-node="Alice"]').focus()`)
	p.key("Enter")
	p.wait(`document.querySelector("dialog")?.open && document.activeElement.name === "reason"`)
	p.typeText("too loud")
	p.shot("dialog")
	p.key("Enter")
	p.wait(`document.querySelector("#said span")?.textContent === "\u2068Alice\u2069 is banned; 1 allocation closed."`)
	p.wait(`document.activeElement.getAttribute("aria-label") === "Lift ban of Alice"`)
	if b, ok := s.registry.BanOf("Alice"); !ok || b.Reason != "too loud" {
		t.Errorf("ban %+v %v", b, ok)
	}
	p.key("Enter")
	p.wait(`document.activeElement.getAttribute("aria-label") === "Ban Alice"`)
	if s.registry.Banned("Alice") {
		t.Error("the ban was not lifted")
	}
	p.key("Enter")
	p.wait(`document.querySelector("dialog")?.open`)
	p.key("Escape")
	p.wait(`!document.querySelector("dialog")`)
	if s.registry.Banned("Alice") {
		t.Error("banned although the dialog was left")
	}

	p.eval(`location.hash = "#/bans"`)
	heading(p, "Bans")
	p.eval(`document.querySelector("input[name=node]").focus()`)
	p.typeText(hostile)
	p.eval(`document.querySelector("select[name=for]").value = "1h"`)
	p.key("Enter")
	p.wait(`document.querySelectorAll("tbody tr").length === 2`)
	if b, ok := s.registry.BanOf(hostile); !ok || b.Until.IsZero() {
		t.Errorf("ban %+v %v", b, ok)
	}
	p.eval(`document.querySelector("input[name=node]").focus()`)
	p.typeText(strings.Repeat("ü", 200))
	p.key("Enter")
	p.wait(`document.querySelector("#said").textContent.includes("longer than 256 bytes")`)

	p.eval(`location.hash = "#/node?id=Bob"`)
	p.wait(`document.querySelector('button[data-allocation="a1"]')`)
	p.eval(`document.querySelector('button[data-allocation="a1"]').click()`)
	p.wait(`document.querySelector("dialog")?.open`)
	p.eval(`document.querySelector("dialog button[type=submit]").click()`)
	p.wait(`document.querySelector("#said").innerText === "The allocation is closed." && !document.querySelector('button[data-allocation="a1"]')`)

	s.setNotReady("turn")
	p.wait(`document.querySelector("#state").textContent === "Not ready: turn"`)
	if p.eval("typeof window.hacked") != `"undefined"` {
		t.Error("a Node's id was run as a script")
	}
	p.mu.Lock()
	problems := p.problems
	p.mu.Unlock()
	s.stop()
	p.wait(`document.querySelector("#state").textContent === "Connection lost, trying again"`)
	for _, problem := range problems { // the id that was too long was answered with 400, which Chromium logs
		if !strings.Contains(problem, "400 (Bad Request)") {
			t.Errorf("the page has an error: %s", problem)
		}
	}
}

func TestDashboardSignIn(t *testing.T) {
	s := lively(t, "0123456789abcdef")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/")
	heading(p, "Sign in")
	p.wait(`document.activeElement.name === "token"`)
	checkAccessibility(p, axeCore(t), "sign-in")
	p.shot("signin")
	p.typeText("wrong")
	p.key("Enter")
	p.wait(`document.querySelector(".problem").textContent !== ""`)
	p.eval(`document.activeElement.value = ""`)
	p.typeText("0123456789abcdef")
	p.key("Enter")
	heading(p, "Overview")
	p.wait(`document.querySelector("#state").textContent === "Ready"`)
	p.eval(`document.querySelector("#signout").click()`)
	heading(p, "Sign in")
	if got := p.eval(`sessionStorage.length + document.cookie.length`); got != "0" {
		t.Errorf("after signing out something is left: %s", got)
	}
	p.open(s.url + "/#token=0123456789abcdef")
	p.call("Page.reload", nil, nil)
	heading(p, "Overview")
	if got := p.eval(`location.href`); strings.Contains(got, "token") {
		t.Errorf("the token stays in the address: %s", got)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		if !strings.Contains(problem, "401 (Unauthorized)") {
			t.Errorf("the page has an error: %s", problem)
		}
	}
}

// axeCore is the accessibility checker's script, which `make test` installs.
func axeCore(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
			t.Fatal("axe-core is missing: run `make test`, which installs it")
		}
		t.Log("axe-core is not installed, so accessibility is not checked: `make test` installs it")
	}
	return string(data)
}

func checkAccessibility(p *page, axe, where string) {
	p.t.Helper()
	if axe == "" {
		return
	}
	p.call("Runtime.evaluate", map[string]any{"expression": axe}, nil)
	got := p.eval(`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.html.slice(0, 120)).join(" | ")))`)
	if got != "[]" {
		p.t.Errorf("%s: %s", where, got)
	}
}

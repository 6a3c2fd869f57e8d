package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

const someURLs = `{"iceServers":[{"urls":["stun:turn.example.org:3478"]},{"urls":["turn:turn.example.org:3478?transport=udp"],"username":"u","credential":"p"}]}`

// trials serves the page that links lead to.
func trials(t *testing.T, more func(*Config)) (s *server, issued *atomic.Pointer[string], gone *atomic.Int32) {
	t.Helper()
	issued, gone = new(atomic.Pointer[string]), new(atomic.Int32)
	s = serve(t, "0123abcd", func(c *Config) {
		c.RTC = func(node string) (json.RawMessage, error) {
			issued.Store(&node)
			return json.RawMessage(someURLs), nil
		}
		c.TestPage = func() string { return "https://turn.example.org/turn/" }
		c.Gone = func() { gone.Add(1) }
		if more != nil {
			more(c)
		}
	})
	return s, issued, gone
}

func (s *server) link(node string) string {
	s.t.Helper()
	status, _, body := s.do("POST", "/api/test-links", `{"node":"`+node+`"}`)
	var l adminapi.TestLink
	if err := json.Unmarshal([]byte(body), &l); status != 201 || err != nil {
		s.t.Fatal(status, body, err)
	}
	page, token, _ := strings.Cut(l.URL, "#")
	if page != "https://turn.example.org/turn/try" || len(token) != 43 {
		s.t.Error(l.URL)
	}
	return token
}

// A link is for one test, whose result comes into its Node's why-record and nowhere else. Whoever has it needs no admin token, and
// gets nothing else with it.
func TestLinkOfATest(t *testing.T) {
	s, issued, gone := trials(t, nil)
	token := s.link("Alice")
	other := s.link("Bob")
	s.relays.list = []adminapi.Allocation{allocation("1", "Carol")}
	admin := s.token
	s.token = ""
	for range 3 { // a preview in a chat spends nothing
		if status, header, body := s.do("GET", "/try", ""); status != 200 || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") ||
			header.Get("Referrer-Policy") != "no-referrer" || strings.Contains(body, token) {
			t.Fatal(status, header)
		}
	}
	for _, path := range []string{"/api/status", "/api/nodes", "/api/node?id=Alice", "/metrics"} {
		if status, _, _ := s.do("GET", path, "", "Authorization", "Bearer "+token); status != 401 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _, _ := s.do("POST", "/api/test-links", `{"node":"Alice"}`); status != 401 {
		t.Error(status)
	}
	const goneBody = `{"error":"this link has been used, or is too old: ask for another"}`
	s.want("POST", "/try/start", `{"token":""}`, 410, goneBody)
	s.want("POST", "/try/start", `{"token":"`+token[1:]+`"}`, 410, goneBody)
	if gone.Load() != 2 {
		t.Errorf("%d were counted", gone.Load())
	}
	s.want("POST", "/try/start", `{"token":"`+token+`","node":"Bob"}`, 400, "~unknown")

	status, _, body := s.do("POST", "/try/start", `{"token":"`+token+`"}`)
	var begun adminapi.TestBegun
	if err := json.Unmarshal([]byte(body), &begun); status != 200 || err != nil || len(begun.Servers) != 2 || begun.Servers[1].Credential != "p" {
		t.Fatal(status, body, err)
	}
	as := *issued.Load()
	if !nodeid.Trial(as) || nodeid.Trial("Alice") {
		t.Errorf("the credential is for %s", as)
	}
	s.want("POST", "/try/start", `{"token":"`+token+`"}`, 410, goneBody) // replayed

	const good = `{"fault":"","code":0,"round_trip":12.3,"bytes_per_second":1e6,"lost":0.005}`
	const bad = `{"fault":"no_answer","code":701,"round_trip":0,"bytes_per_second":0,"lost":0}`
	result := func(run, results string) string { return fmt.Sprintf(`{"run":%q,"results":[%s]}`, run, results) }
	for _, forged := range []string{
		result(token, bad+","+good), result("", bad+","+good), result(other, bad+","+good), result(begun.Run, ""), result(begun.Run, good), result(begun.Run, good+","+good+","+good),
	} {
		s.want("POST", "/try/result", forged, 410, goneBody)
	}
	for _, forged := range []string{
		`{"fault":"<b>"}`, `{"fault":"","lost":2}`, `{"fault":"","lost":-1}`, `{"fault":"","round_trip":1e9}`, `{"fault":"","bytes_per_second":1e300}`, `{"fault":"","code":-1}`,
		`{"fault":"","note":"x"}`, `{"fault":1}`, `[]`,
	} {
		if status, _, body := s.do("POST", "/try/result", result(begun.Run, bad+","+forged)); status != 400 {
			t.Errorf("%s: %d %s", forged, status, body)
		}
	}
	if status, _, _ := s.do("POST", "/try/result", result(begun.Run, strings.Repeat(good+",", 2000)+good)); status != 413 {
		t.Error(status)
	}
	s.relays.list = append(s.relays.list, allocation("2", as))
	s.want("POST", "/try/result", result(begun.Run, bad+","+good), 204, "")
	s.want("POST", "/try/result", result(begun.Run, bad+","+good), 410, goneBody)
	if left := s.relays.Allocations(); len(left) != 1 || left[0].ID != "1" {
		t.Errorf("left: %+v", left)
	}

	s.token = admin
	_, events, _ := s.registry.Lookup("Alice")
	var said []string
	for _, e := range events {
		said = append(said, fmt.Sprintf("%s %v %s", e.Kind, e.Failed, e.Detail))
	}
	want := []string{
		"tested false a browser at 127.0.0.1 tested its connection by a link: 1 of 2 URLs work from there",
		"tested true stun:turn.example.org:3478 gets no answer: a firewall or NAT is in the way, or the name does not resolve there",
		"tested false turn:turn.example.org:3478?transport=udp works: 12 ms there and back, 8.0 Mbit/s, 0.5 % lost",
	}
	if strings.Join(said, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	if _, events, _ := s.registry.Lookup("Bob"); len(events) > 0 {
		t.Errorf("Bob has %v", events)
	}
}

// Links end, and there are not many of them.
func TestLinksAreBounded(t *testing.T) {
	var now atomic.Int64
	now.Store(started.Unix())
	s, _, _ := trials(t, func(c *Config) { c.Now = func() time.Time { return time.Unix(now.Load(), 0) } })
	first := s.link("Alice")
	for range maxTestLinks - 1 {
		s.link("Alice")
	}
	s.want("POST", "/api/test-links", `{"node":"Alice"}`, 409, "~64 links are open already")
	now.Add(3599)
	s.want("POST", "/api/test-links", `{"node":"Alice"}`, 409, "~64 links are open already")
	now.Add(1)
	s.want("POST", "/try/start", `{"token":"`+first+`"}`, 410, "~too old")
	token := s.link("Alice")
	s.want("POST", "/try/start", `{"token":"`+token+`"}`, 200, "~run")
}

func TestWhereALinkLeads(t *testing.T) {
	s, _, _ := trials(t, func(c *Config) { c.TestPage = func() string { return "" } })
	s.want("POST", "/api/test-links", `{"node":"Alice"}`, 409, `~add \"test\" to https.serve`)
	s.want("POST", "/api/test-links", `{"node":"Alice","base":"https://a.example/x/"}`, 201, `~https://a.example/x/try#`)
	for _, base := range []string{"javascript:x", "https://", "https://u:p@a.example", "https://a.example/?x", "https://a.example/#x", "//a.example", strings.Repeat("h", 600)} {
		s.want("POST", "/api/test-links", `{"node":"Alice","base":"`+base+`"}`, 400, "~the URL must be like")
	}
	s.want("POST", "/api/test-links", `{"node":""}`, 400, "~node id is empty")
	alone := serve(t, "", nil)
	alone.want("POST", "/api/test-links", `{"node":"Alice"}`, 404, "~no test credentials")
}

// TestTryPage looks at the page that a link opens, as somebody's browser shows it: with the whole link, and with half of it.
func TestTryPage(t *testing.T) {
	s, _, _ := trials(t, nil)
	axe := axeCore(t)
	for name, hash := range map[string]string{"whole": "#" + s.link("Alice"), "cut off": ""} {
		p := openPage(t)
		p.size(390, 844, name == "whole")
		p.open(s.url + "/try" + hash)
		p.wait(fmt.Sprintf(`document.querySelector("#start")?.disabled === %t`, hash == ""))
		if hash == "" {
			p.wait(`document.querySelector("#state").textContent.includes("not whole")`)
		}
		if over := p.eval(`document.documentElement.scrollWidth - innerWidth`); over[0] != '-' && over != "0" {
			t.Errorf("%s: the page is %s pixels wider than the screen", name, over)
		}
		checkAccessibility(p, axe, name)
		p.shot("try " + name)
		p.clean()
	}
}

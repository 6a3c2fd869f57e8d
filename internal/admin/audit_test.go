package admin

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/audit"
)

// serveAudited is serve with an audit log in the folder that it returns.
func serveAudited(t *testing.T, token string) (*server, *audit.Log, string) {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(audit.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	s := serve(t, token, func(c *Config) {
		c.Audit = log
		c.Drain = func() {}
		c.Status = func() adminapi.Status { return adminapi.Status{Started: started, BrokerEnv: []string{"A=B"}} }
		c.RTC = func(string) (json.RawMessage, error) { return json.RawMessage(`{"iceServers":[]}`), nil }
		c.TestPage = func() string { return "https://turn.example.org/" }
	})
	return s, log, dir
}

// Each change has its entry: who, what, on whom, from where, through what, and what came of it; and never a secret.
func TestAuditOfChanges(t *testing.T) {
	const token = "a token that nobody guesses"
	s, log, dir := serveAudited(t, token)
	s.relays.list = []adminapi.Allocation{allocation("a1", "Alice")}
	client, err := adminapi.NewClient(s.url, token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Ban(t.Context(), adminapi.BanRequest{Node: "Mallory", Reason: "spam", For: "1h"}); err != nil {
		t.Fatal(err)
	}
	s.want("DELETE", "/api/bans/Nobody", "", 404, "~not banned")
	if status, _, _ := s.do("POST", "/api/bans", `{"node":"Bob","secret":"hush"}`, "Origin", s.url); status != 400 {
		t.Errorf("status %d", status)
	}
	s.want("DELETE", "/api/allocations/a1", "", 204, "")
	s.want("DELETE", "/api/node?id=Mallory&token=hush", "", 204, "")
	link, err := client.TestLink(t.Context(), "Alice", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := client.Audit(t.Context(), time.Now().Add(-time.Hour), 0)
	if err != nil || page.More {
		t.Fatal(page, err)
	}
	want := []audit.Entry{
		{What: audit.Drain, Via: "command"},
		{What: audit.TestLink, Node: "Alice", Via: "command"},
		{What: audit.Forget, Node: "Mallory", Via: "api"},
		{What: audit.CloseAllocation, Node: "Alice", Detail: "a1", Via: "api"},
		{What: audit.Ban, Via: "dashboard", Refused: "the body is not what is expected"},
		{What: audit.Unban, Node: "Nobody", Via: "api", Refused: "this Node is not banned"},
		{What: audit.Ban, Node: "Mallory", Reason: "spam", Detail: "for 1h", Via: "command"},
	}
	if len(page.Entries) != len(want) {
		t.Fatalf("%+v", page.Entries)
	}
	for i, e := range page.Entries {
		w := want[i]
		w.N, w.Time, w.By, w.From = uint64(len(want)-i), e.Time, "admin.token", "127.0.0.1"
		if e != w {
			t.Errorf("entry %+v\nwant %+v", e, w)
		}
		if since := time.Since(e.Time); since < 0 || since > time.Minute || e.Time.Location() != time.UTC {
			t.Errorf("time %v", e.Time)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, audit.FileName))
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(link.URL, "#")
	for _, hidden := range []string{token, "hush", secret} {
		if strings.Contains(string(data), hidden) {
			t.Errorf("a secret is in the log: %s", data)
		}
	}
	if log.Lost() != 0 {
		t.Errorf("%d lost", log.Lost())
	}
}

// Whatever a method of the API other than GET does, the log has it; but for what the page of a test sends, which changes nothing of an operator's.
func TestAuditHasEveryChange(t *testing.T) {
	s, log, _ := serveAudited(t, "")
	known := map[audit.What]bool{}
	for _, rt := range apiRoutes() {
		for method := range rt.methods {
			if method == http.MethodGet || strings.HasPrefix(rt.pattern, testPath) {
				continue
			}
			path := rt.pattern
			if strings.HasSuffix(path, "/") {
				path += "x"
			}
			before := len(entries(t, log))
			s.do(method, path, "{}")
			after := entries(t, log)
			if len(after) != before+1 || after[0].By != "no token" {
				t.Fatalf("%s %s: %+v", method, path, after)
			}
			known[after[0].What] = true
		}
	}
	for _, what := range audit.Known() {
		if !known[what] && what != audit.Reload { // a signal or a file
			t.Errorf("nothing notes %s", what)
		}
	}
}

func entries(t *testing.T, log *audit.Log) []audit.Entry {
	t.Helper()
	p, err := log.Page(audit.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Entries
}

func TestAuditPage(t *testing.T) {
	s, log, _ := serveAudited(t, "")
	for range 3 {
		log.Note(audit.Entry{What: audit.Ban, Node: "Mallory"})
	}
	log.Note(audit.Entry{What: audit.Reload})
	s.want("GET", "/api/audit?what=ban,unban&limit=1", "", 200, `~"n":3,`)
	s.want("GET", "/api/audit?what=ban,unban&limit=1", "", 200, `~"more":true`)
	s.want("GET", "/api/audit?before=2", "", 200, `~{"entries":[{"n":1,`)
	s.want("GET", "/api/audit?node=Alice", "", 200, `{"entries":[],"more":false}`)
	for _, q := range []string{"what=bann", "since=yesterday", "before=x", "limit=10001", "limit=0"} {
		s.want("GET", "/api/audit?"+q, "", 400, `~"error"`)
	}
	serve(t, "", nil).want("GET", "/api/audit", "", 200, `{"entries":[],"more":false}`)
}

// The dashboard shows who banned whom and why, and what else was changed.
func TestDashboardAudit(t *testing.T) {
	s, log, _ := serveAudited(t, "")
	log.Note(audit.Entry{What: audit.Ban, Node: "Mallory", Reason: "<b>spam", Detail: "for 1h", By: "admin.token", Via: "command", From: "192.0.2.1"})
	log.Note(audit.Entry{What: audit.Reload, By: "SIGHUP", Refused: "turn.listen: no"})
	p := openPage(t)
	p.size(390, 844, true)
	p.open(s.url + "/#/bans")
	p.wait(`document.querySelector("main").textContent.includes("admin.token, command, 192.0.2.1")`)
	p.wait(`document.querySelector("main").textContent.includes("done (for 1h: <b>spam)")`)
	p.wait(`!document.querySelector("main").textContent.includes("SIGHUP")`)
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	checkAccessibility(p, axeCore(t), "bans")
	p.open(s.url + "/#/setup")
	p.wait(`document.querySelector("main").textContent.includes("refused: turn.listen: no")`)
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	checkAccessibility(p, axeCore(t), "setup")
	p.clean()
}

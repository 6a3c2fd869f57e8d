package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// following is how many event streams are open.
func (s *server) following() int {
	s.admin.mu.Lock()
	defer s.admin.mu.Unlock()
	return s.admin.streams
}

// awaitFollowing waits until so many are.
func (s *server) awaitFollowing(n int) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); s.following() != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%d event streams are open, want %d", s.following(), n)
		}
	}
}

func (s *server) settings(set webguard.Settings) {
	s.t.Helper()
	next, err := s.guard.Prepare(set)
	if err != nil {
		s.t.Fatal(err)
	}
	next.Apply()
}

// keepRefusing notes a refusal again and again, since one that is noted while nobody follows is not told.
func (s *server) keepRefusing(detail string) {
	stop := make(chan struct{})
	var noting sync.WaitGroup
	noting.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.registry.Refused("Bob", fmt.Sprint(detail, " ", i))
			}
		}
	})
	s.t.Cleanup(func() { close(stop); noting.Wait() })
}

const live = `document.querySelector("#state")?.textContent === "Ready"`

// TestDashboardInTwentyTabs has them open and seen at once, of which a browser would let six have a stream each and nothing
// else: by an address of loopback, where browsers have locks, and by a name without TLS, where they have none.
func TestDashboardInTwentyTabs(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "turn.example"} {
		t.Run(host, func(t *testing.T) { inTwentyTabs(t, host) })
	}
}

func inTwentyTabs(t *testing.T, host string) {
	s := lively(t, "secret-token-0123456789")
	s.settings(webguard.Settings{Token: s.token, Hosts: []string{host}})
	s.admin.tick = time.Second // what twenty tabs draw on two processors
	tabs := []*page{openPage(t, "--host-resolver-rules=MAP turn.example 127.0.0.1")}
	for len(tabs) < 20 {
		tabs = append(tabs, tabs[0].window())
	}
	for _, p := range tabs {
		p.open(strings.Replace(s.url, "127.0.0.1", host, 1) + "/#token=" + s.token)
		p.wait(live + ` && !document.hidden && Boolean(navigator.locks) === ` + fmt.Sprint(host == "127.0.0.1"))
	}
	s.awaitFollowing(1)
	everywhere := func(detail string) {
		t.Helper()
		s.keepRefusing(detail) // one that falls between two streams is not told
		for _, p := range tabs {
			p.wait(fmt.Sprintf(`%s && document.querySelector("#main").textContent.includes(%q)`, live, detail))
		}
	}
	everywhere("128 of 128 in use")
	last := tabs[len(tabs)-1]
	last.eval(`location.hash = "#/bans"`)
	last.wait(`document.querySelector('button[data-node="Mallory"]')`)
	last.eval(`document.querySelector('button[data-node="Mallory"]').click()`)
	last.wait(`document.querySelector("#said button")?.textContent === "Undo"`)
	last.eval(`location.hash = "#/overview"`)
	// The tab that has the stream goes, and then all others but two sign out.
	tabs[0].close()
	tabs = tabs[1:]
	everywhere("129 of 128 in use")
	for _, p := range tabs[:len(tabs)-2] {
		p.eval(`document.querySelector("#signout").click()`)
		heading(p, "Sign in")
	}
	tabs = tabs[len(tabs)-2:]
	everywhere("130 of 128 in use")
	s.awaitFollowing(1)
	tabs[0].cleanBut("Cross-Origin-Opener-Policy") // has no effect by a name without TLS, which Chromium logs
}

// TestDashboardTakesFromAFrozenTab stops the tab that has the stream, as browsers do to one that was not looked at.
func TestDashboardTakesFromAFrozenTab(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "turn.example"} {
		t.Run(host, func(t *testing.T) { takesFromAFrozenTab(t, host) })
	}
}

func takesFromAFrozenTab(t *testing.T, host string) {
	s := lively(t, "")
	s.settings(webguard.Settings{Hosts: []string{host}})
	first := openPage(t, "--host-resolver-rules=MAP turn.example 127.0.0.1")
	url := strings.Replace(s.url, "127.0.0.1", host, 1)
	first.open(url)
	first.wait(live)
	second := first.tab()
	second.open(url)
	second.wait(live)
	first.call("Page.setWebLifecycleState", map[string]any{"state": "frozen"}, nil)
	s.keepRefusing("while one sleeps")
	second.wait(live + ` && document.querySelector("#main").textContent.includes("while one sleeps")`)
	// Awake again, the first tab follows as others do.
	first.call("Page.setWebLifecycleState", map[string]any{"state": "active"}, nil)
	first.wait(live + ` && document.querySelector("#main").textContent.includes("while one sleeps")`)
	s.awaitFollowing(1)
	second.cleanBut("Cross-Origin-Opener-Policy")
}

// TestDashboardInHiddenTabs is by a name and without TLS, where a browser has no locks: tabs that are not seen have no stream.
func TestDashboardInHiddenTabs(t *testing.T) {
	s := lively(t, "")
	s.settings(webguard.Settings{Hosts: []string{"turn.example"}})
	p := openPage(t, "--host-resolver-rules=MAP turn.example 127.0.0.1")
	p.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		window.away = false;
		Object.defineProperty(document, "hidden", {get: () => window.away});
		window.look = (on) => { window.away = !on; document.dispatchEvent(new Event("visibilitychange")); };`}, nil)
	p.open(strings.Replace(s.url, "127.0.0.1", "turn.example", 1))
	p.wait(live + ` && !navigator.locks`)
	for range 2 {
		s.awaitFollowing(1)
		p.eval(`look(false)`)
		s.awaitFollowing(0)
		p.wait(live)
		p.eval(`look(true)`)
	}
	s.keepRefusing("128 of 128 in use")
	p.wait(live + ` && document.querySelector("#main").textContent.includes("128 of 128 in use")`)
	p.cleanBut("Cross-Origin-Opener-Policy") // as above
}

// held is a http.ResponseWriter that passes nothing of a body on before its end.
type held struct {
	http.ResponseWriter
	body strings.Builder
}

func (h *held) Write(b []byte) (int, error) { return h.body.Write(b) }

// TestDashboardBehindABufferingProxy looks at the page through a proxy that holds answers back until they are whole.
func TestDashboardBehindABufferingProxy(t *testing.T) {
	s := lively(t, "secret-token-0123456789")
	at, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := &held{ResponseWriter: w}
		proxy.ServeHTTP(h, r)
		_, _ = w.Write([]byte(h.body.String()))
	}))
	t.Cleanup(front.Close)
	s.settings(webguard.Settings{Token: s.token, Hosts: []string{"127.0.0.1"}})
	p := openPage(t)
	p.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		window.shown = new Set();
		new MutationObserver(() => {
			const state = document.querySelector("#state"), banner = document.querySelector("#banner");
			if (state) window.shown.add(state.textContent);
			if (banner && !banner.hidden) window.shown.add("banner: " + banner.textContent);
		}).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});`}, nil)
	p.open(front.URL + "/#token=" + s.token)
	p.wait(live)
	s.keepRefusing("128 of 128 in use")
	for range 3 {
		p.wait(`document.querySelector("#main").textContent.includes("128 of 128 in use")`)
		p.eval(`import("/assets/store.js").then((m) => { m.store.notes = []; document.querySelector("#only-refusals").click(); })`)
	}
	p.wait(`document.querySelector(".line.in").getAttribute("d").length > 100`)
	if got := p.eval(`[...window.shown].filter((text) => text && text !== "Ready" && !text.startsWith("Connecting"))`); got != "[]" {
		t.Errorf("the page has shown %s", got)
	}
	p.clean()
}

// TestDashboardWithReadToken may look everywhere, and has no button to press that would be refused.
func TestDashboardWithReadToken(t *testing.T) {
	s := lively(t, "secret-token-0123456789")
	s.settings(webguard.Settings{Token: s.token, ReadToken: "may-look-0123456789"})
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/#token=may-look-0123456789")
	p.wait(live)
	note := `document.querySelector("#readonly")`
	p.wait(`!` + note + `.hidden && ` + note + `.textContent.includes("admin.read_token")`)
	axe := axeCore(t)
	for _, v := range []struct{ path, ready, buttons string }{
		{"node?id=Bob", `document.querySelectorAll("tbody tr").length === 1`, `document.querySelectorAll("button[data-node], button[data-allocation]")`},
		{"bans", `document.querySelectorAll("tbody tr").length === 1`, `document.querySelectorAll("button[data-node], form button")`},
		{"test", `document.querySelector("#start-test")`, `document.querySelectorAll("#start-test")`},
	} {
		p.eval(fmt.Sprintf(`location.hash = "#/%s"`, v.path))
		p.wait(v.ready)
		p.wait(fmt.Sprintf(`((all) => all.length > 0 && all.every((b) => b.disabled && b.title.includes("admin.token")))([...%s])`, v.buttons))
		checkAccessibility(p, axe, "read-only "+v.path)
		p.shot("read-only-" + strings.NewReplacer("?", "-", "=", "-").Replace(v.path))
	}
	// A field's Enter must not do what its button does not.
	p.eval(`location.hash = "#/bans"`)
	heading(p, "Bans")
	p.eval(`document.querySelector("input[name=node]").focus()`)
	p.typeText("Alice")
	p.key("Enter")
	// The token comes to be one that may do everything.
	s.settings(webguard.Settings{Token: "may-look-0123456789"})
	p.wait(note + `.hidden && document.querySelector('button[data-node="Mallory"]') && [...document.querySelectorAll("button[data-node], form button")].every((b) => !b.disabled)`)
	p.eval(`document.querySelector('button[data-node="Mallory"]').click()`)
	p.wait(`document.querySelector("#said button")?.textContent === "Undo"`)
	if s.registry.Banned("Mallory") || s.registry.Banned("Alice") {
		t.Errorf("bans %v", s.registry.Bans())
	}
	p.clean()
}

// TestReadOnlyStatus tells a program what its token is for.
func TestReadOnlyStatus(t *testing.T) {
	s := serve(t, "secret-token-0123456789", nil)
	s.settings(webguard.Settings{Token: s.token, ReadToken: "may-look-0123456789"})
	if _, _, body := s.do("GET", "/api/status", ""); strings.Contains(body, "read_only") {
		t.Errorf("the token that may do everything: %s", body)
	}
	s.token = "may-look-0123456789"
	s.want("GET", "/api/status", "", 200, `~"read_only":true`)
	s.want("POST", "/api/bans", "{}", 403, "~may look and not change")
}

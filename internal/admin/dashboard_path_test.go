package admin

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// below is a proxy that shows the server below a path, which it takes off or leaves.
func below(t *testing.T, s *server, takeOff bool) *httptest.Server {
	t.Helper()
	at, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(at) // with the Host of the listener
		if takeOff {
			r.Out.Header.Set("X-Forwarded-Prefix", "/turn")
		}
	}}
	var handler http.Handler = proxy
	if takeOff {
		handler = http.StripPrefix("/turn", proxy)
	}
	mux := http.NewServeMux()
	mux.Handle("/turn/", handler)
	mux.Handle("/turn", handler)
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	return front
}

// TestDashboardBelowAPath looks at the page through both kinds of proxies, with and without a slash at the end of its
// address, and bans a Node there.
func TestDashboardBelowAPath(t *testing.T) {
	for name, c := range map[string]struct {
		takeOff bool
		address string
	}{
		"taken off": {true, "/turn/"}, "taken off, no slash": {true, "/turn"}, "left": {false, "/turn/"}, "left, no slash": {false, "/turn"},
	} {
		t.Run(name, func(t *testing.T) {
			s := lively(t, "secret-token-0123456789")
			front := below(t, s, c.takeOff)
			origin, _ := url.Parse(front.URL)
			set := webguard.Settings{Token: s.token, Hosts: []string{origin.Hostname()}}
			if !c.takeOff {
				set.Path = "/turn"
			}
			next, err := s.guard.Prepare(set)
			if err != nil {
				t.Fatal(err)
			}
			next.Apply()
			p := openPage(t)
			p.size(1280, 900, false)
			p.open(front.URL + c.address + "#token=" + s.token)
			p.wait(`document.querySelector("#state")?.textContent === "Ready"`)
			p.eval(`window.loaded = "once"`)
			p.eval(`document.querySelector('#nav a[href="#/bans"]').click()`)
			p.wait(`window.loaded === "once" && location.pathname === "/turn/" && document.querySelector('button[data-node="Mallory"]')`)
			p.eval(`document.querySelector('button[data-node="Mallory"]').click()`)
			p.wait(`document.querySelector("#said button")?.textContent === "Undo"`)
			if s.registry.Banned("Mallory") {
				t.Error("the ban was not lifted")
			}
			p.clean()
		})
	}
}

// TestForwardedPrefix takes no proxy's word for more than a path.
func TestForwardedPrefix(t *testing.T) {
	s := serve(t, "", nil)
	for prefix, base := range map[string]string{
		"/turn": "/turn/", "/a/b-c/": "/a/b-c/", "": "", "/": "", "turn": "", "//evil.example": "", `/x"><script>`: "", "/../x": "", "https://evil.example": "",
		strings.Repeat("/x", 129): "",
	} {
		_, header, page := s.do("GET", "/", "", "X-Forwarded-Prefix", prefix)
		want := `<base href="` + base + `">`
		if has := strings.Contains(page, "<base"); has != (base != "") || has && !strings.Contains(page, want) {
			t.Errorf("%q: want %q in %.200s", prefix, want, page)
		}
		if status, _, _ := s.do("GET", "/", "", "X-Forwarded-Prefix", "/other", "If-None-Match", header.Get("Etag")); status != 200 {
			t.Errorf("%q: a page for another path counts as the same", prefix)
		}
	}
}

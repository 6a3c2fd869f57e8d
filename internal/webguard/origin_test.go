package webguard

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// echo answers with the path and the query that the handler sees.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.RequestURI())) })

// reason is the text of a refusal.
func reason(t *testing.T, body string) string {
	t.Helper()
	var problem map[string]string
	if err := json.Unmarshal([]byte(body), &problem); err != nil || len(problem) != 1 {
		t.Fatalf("body %q: %v", body, err)
	}
	return problem["error"]
}

// TestTokenMakesAnyHostGood has whoever knows the token ask by any name, and a page of another site not profit from a
// password that the browser remembers.
func TestTokenMakesAnyHostGood(t *testing.T) {
	g := start(t, Config{
		Key: "admin.listen", CheckHost: OwnHosts, Handler: echo,
		Settings: Settings{Token: "t", ReadToken: "r", Hosts: []string{"admin.example"}},
		Exempt: func(r *http.Request) Exemption {
			switch r.URL.Path {
			case "/healthz":
				return NoToken | NoHost
			case "/page":
				return NoToken
			}
			return 0
		},
	})
	const other = "crolang-aio:8084"
	for _, c := range []struct {
		path, host, token, origin string
		want                      int
		says                      string
	}{
		{"/api", other, "t", "", 200, ""},
		{"/api", "192.168.7.5:8084", "r", "", 200, ""},
		{"/api", other, "", "", 401, ""},
		{"/api", other, "x", "", 401, ""},
		{"/page", other, "t", "", 200, ""},
		{"/page", other, "", "", 403, "admin.hosts"},
		{"/page", other, "x", "", 403, "admin.token"},
		{"/page", "admin.example:8084", "", "", 200, ""},
		{"/healthz", other, "", "", 200, ""},
		{"/api", other, "t", "http://" + other, 200, ""},
		{"/api", other, "t", "http://evil.example", 403, "admin.hosts"},
		{"/api", "127.0.0.1:8084", "t", "https://admin.example", 200, ""}, // a proxy that sends its own Host
		{"/api", "127.0.0.1:8084", "t", "https://other.example", 403, "another site"},
	} {
		t.Run(strings.Join([]string{c.path, c.host, c.token, c.origin}, " "), func(t *testing.T) {
			status, body := get(t, g, c.path, func(r *http.Request) {
				r.Host = c.host
				if c.token != "" {
					r.SetBasicAuth("admin", c.token)
				}
				if c.origin != "" {
					r.Header.Set("Origin", c.origin)
				}
			})
			switch {
			case status != c.want:
				t.Errorf("status %d, want %d: %s", status, c.want, body)
			case status == 403 && !strings.Contains(reason(t, body), c.says):
				t.Errorf("403 does not say what to set: %s", body)
			case status == 401 && body != "":
				t.Errorf("401 says %q", body)
			}
		})
	}
}

// TestReadToken looks and changes nothing.
func TestReadToken(t *testing.T) {
	g := start(t, Config{Key: "admin.listen", Handler: echo, Settings: Settings{Token: "t", ReadToken: "r"}})
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 403, "DELETE": 403, "PUT": 403, "FROBNICATE": 403} {
		status, body := get(t, g, "/", func(r *http.Request) {
			r.Method = method
			r.Header.Set("Authorization", "Bearer r")
		})
		if status != want || status == 403 && !strings.Contains(reason(t, body), "admin.token") {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
	if status, body := get(t, g, "/?token=r&x=y", nil); status != 200 || body != "/?x=y" {
		t.Errorf("in the query: %d %s", status, body)
	}
	if status, _ := get(t, g, "/", func(r *http.Request) { r.Method = "POST"; r.Header.Set("Authorization", "Bearer t") }); status != 200 {
		t.Errorf("the token itself: %d", status)
	}
	next, err := g.Prepare(Settings{Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	next.Apply()
	for _, token := range []string{"r", ""} {
		if status, _ := get(t, g, "/", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }); status != 401 {
			t.Errorf("%q after it was taken away: %d", token, status)
		}
	}
}

// TestCallersHosts is of listeners that programs call: who asks without a token must not be a page in a browser.
func TestCallersHosts(t *testing.T) {
	g := start(t, Config{
		Key: "hooks.listen", CheckHost: CallersHosts, Handler: echo, Machine: []string{"turn.example"}, Settings: Settings{Hosts: []string{"hooks.example"}},
	})
	for _, c := range []struct {
		host, origin, site string
		want               int
	}{
		{"127.0.0.1:8083", "", "", 200},
		{"localhost:8083", "", "", 200},
		{"crolang-aio:8083", "", "", 200}, // a container or a service
		{"crolang-aio.default.svc.cluster.local", "", "", 200},
		{"host.docker.internal:8083", "", "", 200},
		{"192.168.7.5:8083", "", "", 200}, // the address of a host that publishes the port
		{"[2001:db8::5]:8083", "", "", 200},
		{"hooks.example", "", "", 200},
		{"turn.example:8083", "", "", 200},
		{"evil.example:8083", "", "", 403},
		{"127.0.0.1.evil.example", "", "", 403},
		{"local.", "", "", 200},
		{"", "", "", 403},
		{"evil.example:8083", "http://evil.example:8083", "", 403}, // rebound
		{"127.0.0.1:8083", "http://evil.example", "", 403},
		{"127.0.0.1:8083", "null", "", 403},
		{"127.0.0.1:8083", "", "cross-site", 403},
		{"crolang-aio:8083", "http://crolang-aio:8083", "", 403}, // no Broker sends an Origin
		{"192.168.7.5:8083", "http://192.168.7.5:8083", "", 403},
		{"127.0.0.1:8083", "http://127.0.0.1:8083", "", 200},
	} {
		t.Run(strings.Join([]string{c.host, c.origin, c.site}, " "), func(t *testing.T) {
			r, _ := http.NewRequest("POST", "http://"+g.Addr().String()+"/x", nil)
			r.Host = c.host
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			if c.host == "" {
				if unclaimable("") {
					t.Error("no host is a good one")
				}
				return
			}
			status, body := get(t, g, "/x", func(sent *http.Request) { r.URL = sent.URL; *sent = *r })
			if status != c.want || status == 403 && !strings.Contains(reason(t, body), "hooks.") {
				t.Errorf("%d %s, want %d", status, body, c.want)
			}
		})
	}
	next, err := g.Prepare(Settings{Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	next.Apply()
	if status, _ := get(t, g, "/x", func(r *http.Request) { r.Host = "evil.example"; r.Header.Set("Authorization", "Bearer t") }); status != 200 {
		t.Errorf("with the token: %d", status)
	}
}

// TestPath is of a proxy that shows the listener below a path, and of one that takes the path off.
func TestPath(t *testing.T) {
	g := start(t, Config{
		Key: "admin.listen", CheckHost: OwnHosts, Handler: echo, Settings: Settings{Token: "t", Path: "/turn/"},
		Exempt: func(r *http.Request) Exemption {
			if r.URL.Path == "/healthz" {
				return NoToken
			}
			return 0
		},
	})
	for path, want := range map[string]string{
		"/turn/": "/", "/turn/api/nodes?q=1": "/api/nodes?q=1", "/turn/api/nodes/a%2Fb": "/api/nodes/a%2Fb", "/api/nodes": "/api/nodes",
		"/turnip": "/turnip", "/": "/", "/turn/turn/x": "/turn/x", "/turn//x": "//x",
	} {
		if status, body := get(t, g, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer t") }); status != 200 || body != want {
			t.Errorf("%s: %d %s, want %s", path, status, body, want)
		}
	}
	if status, _ := get(t, g, "/turn/healthz", nil); status != 200 {
		t.Errorf("exempt below the path: %d", status)
	}
	if status, _ := get(t, g, "/turn/api", nil); status != 401 {
		t.Errorf("without a token below the path: %d", status)
	}
	r, _ := http.NewRequest("GET", "http://"+g.Addr().String()+"/turn", nil)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != "/turn/" {
		t.Errorf("without the last slash: %d %v", resp.StatusCode, resp.Header)
	}
}

// FuzzBelow takes a path off URLs that strangers write, and compares hosts that they name.
func FuzzBelow(f *testing.F) {
	for _, seed := range [][2]string{{"/turn/api/x%2Fy?q", "localhost:8084"}, {"/turn", "[::1]"}, {"/turn//..", "a.b:"}, {"/%74urn/x", "[::1"}, {"*", ":"}, {"", "\xff"}} {
		f.Add(seed[0], seed[1])
	}
	g := &Guard{cfg: Config{CheckHost: CallersHosts}, refusals: newRefusals("hooks")}
	g.SetMachine([]string{"turn.example"})
	set := newSettings(Settings{Path: "/turn/"})
	f.Fuzz(func(t *testing.T, target, host string) {
		r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = r.URL.Parse(target); err != nil {
			return
		}
		r.Host = host
		short := below(r, set.path)
		if short != r && (!strings.HasPrefix(short.URL.Path, "/") || set.path+short.URL.Path != r.URL.Path && r.URL.Path != set.path) {
			t.Errorf("%q becomes %q", r.URL.Path, short.URL.Path)
		}
		name, _ := splitHost(host)
		if taken := g.foreign(r, set, mayAll) == nil; taken && strings.HasSuffix(canonicalName(name), ".example") && canonicalName(name) != "turn.example" {
			t.Errorf("the host %q is taken", host)
		}
	})
}

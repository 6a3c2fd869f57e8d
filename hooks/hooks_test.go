package hooks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/change"
)

func TestGolden(t *testing.T) {
	for _, c := range []struct{ name, path, body string }{
		{"authenticate-code", PathAuthenticate, `{"id":"Alice","data":"{\"token\":\"t\"}"}`},
		{"authenticate-readme", PathAuthenticate, `{"nodeId":"Alice","data":{"token":"t"},"version":"9"}`},
		{"authenticate-refused", PathAuthenticate, `{"id":"Eve"}`},
		{"authenticate-banned", PathAuthenticate, `{"id":"Ben"}`},
		{"resolve", PathResolve, `{"nodeId":"Alice"}`},
		{"resolve-id", PathResolve, `{"id":"a:b \ud83e\udd8a"}`},
		{"resolve-banned", PathResolve, `{"nodeId":"Bea"}`},
		{"resolve-broken", PathResolve, `{"nodeId":"Broken"}`},
		{"authorize", PathAuthorize, `{"from":"Alice","to":"Bob"}`},
		{"authorize-refused", PathAuthorize, `{"to":"Eve","from":"Alice"}`},
		{"authorize-banned", PathAuthorize, `{"from":"Alice","to":"Ben"}`},
		{"authorize-by-banned", PathAuthorize, `{"from":"Bea","to":"Alice"}`},
		{"validity-none", PathValidity, `{"connectedNodesIds":[]}`},
		{"validity-all-valid", PathValidity, `{"connectedNodesIds":["Alice","Bob","Alice"]}`},
		{"validity", PathValidity, `{"connectedNodesIds":["Alice","Ben","Mallory","","a\u0000b","\ud800",7,null,["x"],{"a":[]},"Bob"]}`},
		{"message", PathMessage, `{"senderId":"Alice","receiverId":"Bob","isReceiverConnected":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, func(cfg *setup) {
				cfg.Asked.RTC.ExtraICEServers = []ICEServer{{URLs: []string{"stun:a.example", "stun:b.example"}}, {URLs: []string{"turn:c.example"}, Username: "u", Password: "p\"q"}}
			})
			got := r.post(c.path, c.body, nil)
			text := fmt.Sprintf("%d %s\n%s\n", got.status, got.header.Get("Content-Type"), got.body)
			r.registry.mu.Lock()
			defer r.registry.mu.Unlock()
			r.policy.mu.Lock()
			defer r.policy.mu.Unlock()
			for _, part := range [][]string{r.policy.asked, r.registry.notes, r.registry.issued, r.registry.authorized, r.registry.connected} {
				for _, line := range part {
					text += "- " + line + "\n"
				}
			}
			golden(t, c.name+".golden", text)
		})
	}
}

func TestBadRequests(t *testing.T) {
	r := start(t, func(cfg *setup) { cfg.MaxBody = 300 << 10 })
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	many := `{"x0":0`
	for i := range 100 {
		many += fmt.Sprintf(`,"x%d":0`, i+1)
	}
	ids := map[string]string{
		"empty":       `""`,
		"10 kB":       `"` + strings.Repeat("x", 10<<10) + `"`,
		"newline":     `"a\nb"`,
		"NUL":         `"\u0000"`,
		"C1":          `"\u0085"`,
		"raw control": "\"a\x01\"",
		"not UTF-8":   "\"a\xff\"",
		"half pair":   `"\ud800"`,
		"number":      `7`,
		"null":        `null`,
		"object":      `{}`,
		"array":       `["Alice"]`,
		"true":        `true`,
	}
	bodies := map[string]string{
		"empty body": ``, "space": ` `, "malformed": `{"id":"Alice"`, "trailing": `{"id":"Alice","from":"A","to":"B"} x`, "array": `["Alice"]`,
		"string": `"Alice"`, "null": `null`, "deep": deep, "deep field": `{"id":"Alice","from":"A","to":"B","x":` + deep + `}`,
		"no id": `{}`, "wrong case": `{"ID":"Alice","From":"A","To":"B"}`, "duplicate": `{"id":"Alice","id":"Alice","from":"A","from":"A","to":"B"}`,
		"duplicate by escape": `{"id":"Alice","i\u0064":"Alice","from":"A","fro\u006d":"A","to":"B"}`,
		"duplicate unknown":   `{"id":"Alice","from":"A","to":"B","x":1,"x":2}`,
		"two different ids":   `{"id":"Alice","nodeId":"Bob","to":"B"}`, "many fields": many + `}`, "BOM": "\ufeff{}",
	}
	for name, id := range ids {
		bodies["id "+name] = fmt.Sprintf(`{"id":%s,"from":"A","to":%s}`, id, id)
	}
	for _, path := range []string{PathAuthenticate, PathResolve, PathAuthorize} {
		for name, body := range bodies {
			t.Run(path+" "+name, func(t *testing.T) {
				got := r.post(path, body, nil)
				if got.status < 400 || got.status > 499 || !strings.HasPrefix(got.body, `{"error":"`) || got.header.Get("Content-Type") != "application/json" {
					t.Errorf("%d %s", got.status, got.body)
				}
				if strings.Contains(got.body, "Alice") {
					t.Errorf("the answer holds the request: %s", got.body)
				}
			})
		}
	}
	if len(r.policy.asked)+len(r.registry.notes)+len(r.registry.issued) > 0 {
		t.Errorf("%v %v %v", r.policy.asked, r.registry.notes, r.registry.issued)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	r := start(t, nil)
	for path, body := range map[string]string{
		PathAuthenticate: `{"new":{"a":[1,2,{"b":null}]},"id":"Alice"}`,
		PathResolve:      `{"nodeId":"Alice","new":[[[]]]}`,
		PathAuthorize:    `{"from":"Alice","to":"Bob","new":"x"}`,
		PathValidity:     `{"new":{},"connectedNodesIds":[]}`,
	} {
		if got := r.post(path, body, nil); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestProtocol(t *testing.T) {
	r := start(t, func(cfg *setup) { cfg.MaxBody = 4096 })
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	typed := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", value) }
	}
	const good = `{"id":"Alice","from":"Alice","to":"Bob","connectedNodesIds":[]}`
	for _, path := range []string{PathAuthenticate, PathResolve, PathAuthorize, PathValidity} {
		for _, c := range []struct {
			name, path, body string
			change           func(*http.Request)
			want             int
		}{
			{"good", path, good, nil, 200},
			{"trailing slash", path + "/", good, nil, 200},
			{"two slashes", "/" + path, good, nil, 200},
			{"charset", path, good, typed("Application/JSON ; charset=utf-8"), 200},
			{"query", path + "?x=y", good, nil, 200},
			{"GET", path, "", method(http.MethodGet), 405},
			{"HEAD", path, "", method(http.MethodHead), 405},
			{"PUT", path, good, method(http.MethodPut), 405},
			{"text", path, good, typed("text/plain"), 415},
			{"form", path, good, typed("application/x-www-form-urlencoded"), 415},
			{"no type", path, good, func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
			{"gzip", path, good, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415},
			{"too large", path, strings.Repeat(" ", 4097), nil, 413},
			{"too large, chunked", path, strings.Repeat(" ", 4097), func(r *http.Request) { r.ContentLength = -1 }, 413},
			{"no token", path, good, func(r *http.Request) { r.Header.Del("Authorization") }, 401},
			{"wrong token", path, "{", func(r *http.Request) { r.SetBasicAuth("broker", "x") }, 401},
			{"wrong path", path + "s", good, nil, 404},
			{"wrong path without token", path + "s", good, func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		} {
			t.Run(path+" "+c.name, func(t *testing.T) {
				got := r.post(c.path, c.body, c.change)
				switch {
				case got.status != c.want:
					t.Errorf("%d %s, want %d", got.status, got.body, c.want)
				case got.status == 405 && got.header.Get("Allow") != "POST":
					t.Errorf("Allow %q", got.header.Get("Allow"))
				case got.status == 401 && got.body != "":
					t.Errorf("401 says %q", got.body)
				case path == PathValidity && got.status != 401 && got.status != 404 && c.name != "HEAD" && !strings.Contains(got.body, `"invalidNodesIds":[]`):
					t.Errorf("the array is missing: %s", got.body)
				}
			})
		}
	}
	if text := r.log.String(); strings.Contains(text, testToken) || strings.Contains(text, "Alice") {
		t.Errorf("log: %s", text)
	}
}

func TestSlowBody(t *testing.T) {
	r := start(t, func(cfg *setup) { cfg.BodyTimeout = 50 * time.Millisecond })
	for _, path := range []string{PathAuthenticate, PathValidity} {
		body, write := io.Pipe()
		go func() { _, _ = io.WriteString(write, `{"id":`) }()
		request, _ := http.NewRequest(http.MethodPost, "http://"+r.Addr().String()+path, body)
		request.Header.Set("Content-Type", "application/json")
		request.SetBasicAuth("broker", testToken)
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		write.Close()
		if response.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s: %d %s", path, response.StatusCode, text)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, rtc := range map[string]RTC{
		"policy": {ICETransportPolicy: "some"},
		"bundle": {BundlePolicy: "x"},
		"mux":    {RTCPMuxPolicy: "x"},
		"pool":   {ICECandidatePoolSize: 256},
		"extra":  {ExtraICEServers: []ICEServer{{}}},
	} {
		if _, err := NewDecider(DeciderConfig{RTC: rtc}); !errors.Is(err, ErrRTC) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDefaults runs a Server that was given nothing: it answers, but has no ICE server to give.
func TestDefaults(t *testing.T) {
	r := start(t, func(cfg *setup) { *cfg = setup{Config: Config{Listen: cfg.Listen}} })
	for path, want := range map[string]string{
		PathAuthenticate: authenticatedTrue, PathAuthorize: authorizedTrue, PathValidity: `{"invalidNodesIds":[]}`, PathResolve: `{"error":"no RTC configuration can be given"}`,
	} {
		if got := r.post(path, `{"id":"A","from":"A","to":"B","connectedNodesIds":["A"]}`, nil); got.body != want {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	if got := r.post(PathMessage, `{"senderId":"A","receiverId":"B"}`, nil); got.status != 204 {
		t.Errorf("message: %d", got.status)
	}
}

// TestPrepare changes token, limit and RTC configuration of a running Server, each only when it is applied.
func TestPrepare(t *testing.T) {
	r := start(t, nil)
	const other = "fedcba9876543210"
	post := func(token string) answer {
		return r.post(PathResolve, `{"id":"Alice"}`, func(r *http.Request) { r.SetBasicAuth("broker", token) })
	}
	var set change.Set
	set.Add(r.Prepare(Settings{Token: other, MaxBody: 4096}))
	set.Add(r.decider.Prepare(RTC{ICETransportPolicy: "relay"}))
	next, err := set.Join()
	if err != nil {
		t.Fatal(err)
	}
	if got := post(testToken); got.status != 200 || strings.Contains(got.body, `"relay"`) || post(other).status != 401 {
		t.Errorf("before: %d %s", got.status, got.body)
	}
	next.Apply()
	if got := post(other); got.status != 200 || !strings.Contains(got.body, `"iceTransportPolicy":"relay"`) || post(testToken).status != 401 {
		t.Errorf("after: %d %s", got.status, got.body)
	}
	large := r.post(PathResolve, strings.Repeat(" ", 4097), func(r *http.Request) { r.SetBasicAuth("broker", other) })
	if large.status != 413 {
		t.Errorf("large: %d", large.status)
	}
	if _, err := r.decider.Prepare(RTC{BundlePolicy: "x"}); !errors.Is(err, ErrRTC) {
		t.Errorf("%v", err)
	}
}

// TestPagesOfOtherSites has a page in a browser on this machine call the webhooks where no token is asked for: by a
// name that was made to lead here, and across sites.
func TestPagesOfOtherSites(t *testing.T) {
	for _, token := range []string{"", testToken} {
		r := start(t, func(cfg *setup) { cfg.Token = token })
		r.policy.got = make(chan string, 8)
		page := map[string]func(*http.Request){
			"rebound": func(r *http.Request) { r.Host = "evil.example:8083" },
			"rebound, in a page": func(r *http.Request) {
				r.Host = "evil.example:8083"
				r.Header.Set("Origin", "http://evil.example:8083")
			},
			"across sites":   func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
			"from a sandbox": func(r *http.Request) { r.Header.Set("Origin", "null") },
			"an image":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		}
		for name, change := range page {
			for _, path := range []string{PathAuthenticate, PathResolve, PathAuthorize, PathValidity, "/nowhere"} {
				got := r.post(path, `{"id":"Alice","from":"Alice","to":"Bob","connectedNodesIds":["Alice"]}`, change)
				if (got.status == 403) != (token == "") || got.status == 403 && !strings.Contains(got.body, "hooks.hosts") {
					t.Errorf("%s %s with token %q: %d %s", name, path, token, got.status, got.body)
				}
			}
			if got := r.post(PathMessage, goodMessage, change); got.status != 204 {
				t.Errorf("%s message: %d", name, got.status)
			}
		}
		r.post(PathMessage, `{"senderId":"Alice","receiverId":"Bob","last":true}`, nil)
		for last := false; !last; {
			text := <-r.policy.got
			if last = strings.Contains(text, "last"); !last && token == "" {
				t.Error("a page's message was taken")
			}
		}
		if token == "" && (len(r.registry.issued) > 0 || len(r.registry.connected) > 0 || len(r.registry.authorized) > 0) {
			t.Errorf("a page got at something: %v %v %v", r.registry.issued, r.registry.connected, r.registry.authorized)
		}
		for _, host := range []string{"localhost:8083", "crolang-aio:8083", "[::1]:8083"} {
			if got := r.post(PathResolve, `{"id":"Alice"}`, func(r *http.Request) { r.Host = host }); got.status != 200 {
				t.Errorf("a Broker that calls %s: %d %s", host, got.status, got.body)
			}
		}
	}
}

package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// How long a link to a test holds, and how many there are at once.
const (
	linkLives    = time.Hour
	maxTestLinks = 64
	maxTestURLs  = 16 // of the configuration that a test gets; further ones are not tried
)

// testPath is the page that a link leads to. The token stands behind the #, which no browser sends: neither logs nor proxies nor a
// preview in a chat learn it.
const testPath = "/try"

var errLink = problem(http.StatusGone, "this link has been used, or is too old: ask for another")

// testLink is one that was given out. Of its two secrets only hashes are kept.
type testLink struct {
	node    string // whose person it is for
	as      string // id of the made-up Node that its credential is for
	token   [sha256.Size]byte
	run     [sha256.Size]byte // of the test that has begun
	begun   bool
	expires time.Time
	urls    []string // that the test tries, once it has begun
}

// testLinks are those that can still be used. Its methods may be called from any goroutine.
type testLinks struct {
	mu  sync.Mutex
	all []*testLink
}

func newSecret() (text string, hash [sha256.Size]byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	text = base64.RawURLEncoding.EncodeToString(b[:])
	return text, sha256.Sum256([]byte(text))
}

// add makes a link, and returns its token.
func (l *testLinks) add(node string, now time.Time) (string, *testLink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(now)
	if len(l.all) >= maxTestLinks {
		return "", nil, problem(http.StatusConflict, fmt.Sprintf("%d links are open already: each goes when it is used, or after an hour", maxTestLinks))
	}
	var tag [8]byte
	_, _ = rand.Read(tag[:]) // never fails
	token, hash := newSecret()
	x := &testLink{node: node, as: nodeid.TrialPrefix + hex.EncodeToString(tag[:]), token: hash, expires: now.Add(linkLives)}
	l.all = append(l.all, x)
	return token, x, nil
}

func (l *testLinks) prune(now time.Time) {
	l.all = slices.DeleteFunc(l.all, func(x *testLink) bool { return !now.Before(x.expires) })
}

// find compares with every link, so that neither content nor place shows in the time it takes.
func (l *testLinks) find(secret string, now time.Time, of func(*testLink) *[sha256.Size]byte) (found *testLink) {
	l.prune(now)
	got := sha256.Sum256([]byte(secret))
	for _, x := range l.all {
		if h := of(x); h != nil && subtle.ConstantTimeCompare(got[:], h[:]) == 1 {
			found = x
		}
	}
	return found
}

// begin uses a link up, and returns the secret with which its result is brought.
func (l *testLinks) begin(token string, now time.Time) (run string, x *testLink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x = l.find(token, now, func(x *testLink) *[sha256.Size]byte {
		if x.begun {
			return nil
		}
		return &x.token
	})
	if x == nil {
		return "", nil
	}
	run, x.run = newSecret()
	x.begun, x.expires = true, now.Add(nodeid.TrialTTL)
	return run, x
}

// end takes the link of a test that has begun, once.
func (l *testLinks) end(run string, results int, now time.Time) *testLink {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.find(run, now, func(x *testLink) *[sha256.Size]byte {
		if !x.begun {
			return nil
		}
		return &x.run
	})
	if x == nil || results != len(x.urls) {
		return nil
	}
	l.all = slices.DeleteFunc(l.all, func(y *testLink) bool { return x == y })
	return x
}

// makeTestLink answers POST /api/test-links.
func (a *Admin) makeTestLink(c *call, req adminapi.TestLinkRequest) (adminapi.TestLink, error) {
	c.entry.Node = nodeid.Canonical(req.Node)
	if a.cfg.RTC == nil {
		return adminapi.TestLink{}, problem(http.StatusNotFound, "this server offers no test credentials")
	}
	if err := nodeid.Valid(req.Node); err != nil {
		return adminapi.TestLink{}, err
	}
	base, err := a.testBase(req.Base)
	if err != nil {
		return adminapi.TestLink{}, err
	}
	token, x, err := a.links.add(nodeid.Canonical(req.Node), a.cfg.Now())
	if err != nil {
		return adminapi.TestLink{}, err
	}
	return adminapi.TestLink{Node: x.node, URL: base + testPath + "#" + token, Expires: x.expires.UTC()}, nil
}

// testBase is where people reach this server's pages, without a slash at its end: as whoever asks says, or as the server knows.
func (a *Admin) testBase(asked string) (string, error) {
	if asked == "" && a.cfg.TestPage != nil {
		asked = a.cfg.TestPage()
	}
	if asked == "" {
		return "", problem(http.StatusConflict, `people elsewhere cannot reach this server's pages: add "test" to https.serve, or say with --url where a proxy shows them`)
	}
	u, err := url.Parse(asked)
	if err != nil || len(asked) > 512 || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", problem(http.StatusBadRequest, "the URL must be like https://turn.example.org/turn/: where people reach the dashboard's pages")
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// beginTest answers POST /try/start. It uses the link up, and gives a credential that only this test can do anything with.
func (a *Admin) beginTest(_ *call, req adminapi.TestStart) (adminapi.TestBegun, error) {
	run, x := a.links.begin(req.Token, a.cfg.Now())
	if x == nil {
		return adminapi.TestBegun{}, errLink
	}
	conf, err := a.cfg.RTC(x.as)
	if err != nil {
		return adminapi.TestBegun{}, err
	}
	var answer struct {
		RTC *rtcConfiguration `json:"rtcConfiguration"`
		rtcConfiguration
	}
	if err := json.Unmarshal(conf, &answer); err != nil {
		return adminapi.TestBegun{}, err
	}
	if answer.RTC != nil {
		answer.rtcConfiguration = *answer.RTC
	}
	begun := adminapi.TestBegun{Run: run, Servers: []adminapi.TestServer{}}
	if c := a.cfg.Status().Certificate; c != nil {
		begun.SelfSigned = c.SelfSigned
	}
	var urls []string
	for _, s := range answer.Servers {
		for _, u := range s.URLs {
			if len(urls) == maxTestURLs {
				break
			}
			urls = append(urls, u)
			begun.Servers = append(begun.Servers, adminapi.TestServer{URL: u, Username: s.Username, Credential: s.Credential})
		}
	}
	a.links.mu.Lock()
	x.urls = urls
	a.links.mu.Unlock()
	return begun, nil
}

type rtcConfiguration struct {
	Servers []struct {
		URLs       []string `json:"urls"`
		Username   string   `json:"username"`
		Credential string   `json:"credential"`
	} `json:"iceServers"`
}

// endTest answers POST /try/result: it writes what a browser has found into the why-record of the link's Node, once.
func (a *Admin) endTest(c *call, req adminapi.TestResult) (none, error) {
	for i := range req.Results {
		if err := checkFinding(&req.Results[i]); err != nil {
			return none{}, err
		}
	}
	x := a.links.end(req.Run, len(req.Results), a.cfg.Now())
	if x == nil {
		return none{}, errLink
	}
	worked, lines := 0, make([]string, len(req.Results))
	for i, f := range req.Results {
		if f.Fault == "" {
			worked++
		}
		lines[i] = x.urls[i] + " " + findingWords(f, strings.HasPrefix(x.urls[i], "turn"))
	}
	a.cfg.Nodes.Tested(x.node, worked == 0, fmt.Sprintf("a browser at %s tested its connection by a link: %d of %d URLs work from there", c.from, worked, len(lines)))
	for i, f := range req.Results {
		a.cfg.Nodes.Tested(x.node, f.Fault != "", lines[i])
	}
	for _, al := range a.cfg.Relays.Allocations() {
		if al.Node == x.as {
			a.cfg.Relays.CloseAllocation(al.ID, "its test has ended")
		}
	}
	return none{}, nil
}

// testFaults are what a test may find, and how the why-record says it.
var testFaults = map[string]string{
	"no_answer": "gets no answer: a firewall or NAT is in the way, or the name does not resolve there",
	"refused":   "answers with an error",
	"late":      "does not answer in time: a firewall swallows the packets, or the way is very slow",
	"no_tls":    "gets no connection: a firewall is in the way, or the browser does not trust the certificate",
	"no_loop":   "gives a relay, over which nothing arrives",
}

// checkFinding holds what a stranger's browser sends to what it can be.
func checkFinding(f *adminapi.TestFinding) error {
	_, fault := testFaults[f.Fault]
	switch {
	case f.Fault != "" && !fault, f.Code < 0 || f.Code > 999, f.RoundTrip < 0 || f.RoundTrip > 600_000,
		f.BytesPerSecond < 0 || f.BytesPerSecond > 1e11, f.Lost < 0 || f.Lost > 1:
		return problem(http.StatusBadRequest, "the result is not one of a test")
	}
	return nil
}

// findingWords is one finding in words of the server's own.
func findingWords(f adminapi.TestFinding, relay bool) string {
	switch {
	case f.Fault == "refused" && f.Code > 0:
		return fmt.Sprintf("%s (%d)", testFaults[f.Fault], f.Code)
	case f.Fault != "":
		return testFaults[f.Fault]
	case !relay:
		return "works"
	}
	return fmt.Sprintf("works: %.0f ms there and back, %.1f Mbit/s, %.1f %% lost", f.RoundTrip, f.BytesPerSecond*8/1e6, f.Lost*100)
}

// fromOf is the address that a request came from, without its port.
func fromOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "an unknown address"
	}
	return host
}

// TestPaths reports whether a path belongs to the page that links to tests lead to: it needs no token, and gives access to nothing else.
func TestPaths(escaped string) bool {
	switch escaped {
	case testPath, testPath + "/start", testPath + "/result", "/assets/try.js", "/assets/rtc.js", "/assets/dom.js", "/assets/app.css", "/assets/icon.svg":
		return true
	}
	return false
}

//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// What strangers try against the built program as a whole. The cases of TURN itself are in turnsrv/security_*_test.go,
// where the table stands of which other tests show a case; the webhooks' and Redis's are also shown by
//
//	F   embedded.TestNonsense, TestAnnouncedLengthsCostNothing, FuzzReader
//	32  hooks.TestBadRequests, TestProtocol, TestSlowBody, TestMessageIsAlwaysAnswered204, TestValidityNamesOddIds, webguard.TestToken
//	33  internal/e2e/axios
//	34  config.TestSecretIsNotPrinted, FuzzSyntaxHidesValues, hooks.TestProtocol
//	35  webguard.TestHostAndOrigin
//	36  turnsrv.TestTLSVersions, TestDTLSSuites, certs.TestTLSConfigRefusesWeakSuites

var transports = []string{"udp", "tcp", "tls", "dtls"}

func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// must is for steps that are no part of what is tested.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// client connects with a credential of the webhook.
func (s *server) client(t *testing.T, transport, node string) *turnclient.Client {
	t.Helper()
	user, password := s.credentials(t, node)
	c := must(turnclient.Dial(patiently(t), turnclient.Options{
		Transport: transport, Addr: s.address(transport), Username: user, Password: password, Timeout: 30 * time.Second,
	}))(t)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *server) address(transport string) string {
	if transport == "tls" || transport == "dtls" {
		return s.tls
	}
	return s.turn
}

// alive fails the test where not every transport and every listener of HTTP answers.
func (s *server) alive(t *testing.T) {
	t.Helper()
	for _, transport := range transports {
		c, err := turnclient.Dial(patiently(t), turnclient.Options{Transport: transport, Addr: s.address(transport), Timeout: 30 * time.Second})
		if err != nil {
			t.Fatalf("not alive: %v", err)
		}
		if got, err := c.Binding(patiently(t)); err != nil || got != c.LocalAddr() {
			t.Errorf("not alive over %s: %v, %v", transport, got, err)
		}
		_ = c.Close()
	}
	if got := s.get(t, "http://"+s.admin+"/readyz", nil); got.status != http.StatusOK {
		t.Errorf("readyz: %d %s", got.status, got.body)
	}
	s.credentials(t, "still alive")
}

// traces are what a process could leave behind.
type traces struct {
	goroutines, files, lines int
	memory                   int64 // resident bytes
	processor                time.Duration
}

func (s *server) proc(file string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, file))
	return string(b)
}

func (s *server) memory() int64 {
	_, rest, _ := strings.Cut(s.proc("status"), "VmRSS:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kilobytes, 10, 64)
	return n << 10
}

func (s *server) files() int {
	all, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	return len(all)
}

// processor is the processor time of the process so far.
func (s *server) processor() time.Duration {
	text := s.proc("stat")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// metric is a metric without labels.
func (s *server) metric(t *testing.T, name string) float64 {
	t.Helper()
	for line := range strings.Lines(s.get(t, "http://"+s.admin+"/metrics", nil).body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return must(strconv.ParseFloat(strings.TrimSpace(rest), 64))(t)
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// traces is what there is once everything has been used.
func (s *server) traces(t *testing.T) traces {
	t.Helper()
	s.alive(t)
	http.DefaultClient.CloseIdleConnections()
	time.Sleep(100 * time.Millisecond) // connections end after they are closed
	return s.tracesNow(t)
}

func (s *server) tracesNow(t *testing.T) traces {
	t.Helper()
	return traces{
		goroutines: int(s.metric(t, "go_goroutines")), files: s.files(), lines: strings.Count(s.logs(), "\n"),
		memory: s.memory(), processor: s.processor(),
	}
}

// unharmed fails the test where the server is not alive, has not come back to where it was, or has logged more lines
// than a few.
func (s *server) unharmed(t *testing.T, before traces) {
	t.Helper()
	s.alive(t)
	const slack = 6 // our own HTTP connections
	room := int64(96 << 20)
	if raceEnabled {
		room = 2 << 30 // its shadow memory is many times what is shadowed, and is kept
	}
	var now traces
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		http.DefaultClient.CloseIdleConnections()
		now = s.tracesNow(t)
		if now.goroutines <= before.goroutines+slack && now.files <= before.files+slack && now.memory < before.memory+room {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("before %+v, now %+v", before, now)
		}
	}
	if more := now.lines - before.lines; more > 10 {
		t.Errorf("%d lines were logged, the last:\n%s", more, tail(s.logs()))
	}
	// What spins would show now.
	busy := s.processor()
	time.Sleep(500 * time.Millisecond)
	if used := s.processor() - busy; used > 350*time.Millisecond {
		t.Errorf("%s of processor time in 500 ms with nothing to do", used)
	}
}

// response is an answer over HTTP.
type response struct {
	status int
	header http.Header
	body   string
}

func (s *server) get(t *testing.T, url string, change func(*http.Request)) response {
	t.Helper()
	return do(t, must(http.NewRequestWithContext(patiently(t), http.MethodGet, url, nil))(t), change)
}

// post sends JSON to a webhook.
func (s *server) post(t *testing.T, path, body string, change func(*http.Request)) response {
	t.Helper()
	r := must(http.NewRequestWithContext(patiently(t), http.MethodPost, "http://"+s.hooks+path, strings.NewReader(body)))(t)
	r.Header.Set("Content-Type", "application/json")
	return do(t, r, change)
}

func do(t *testing.T, r *http.Request, change func(*http.Request)) response {
	t.Helper()
	if change != nil {
		change(r)
	}
	res := must(http.DefaultClient.Do(r))(t)
	defer res.Body.Close()
	var b bytes.Buffer
	must(b.ReadFrom(res.Body))(t)
	return response{res.StatusCode, res.Header, b.String()}
}

package hooks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const goodMessage = `{"senderId":"Alice","receiverId":"Bob","isReceiverConnected":true}`

func TestMessageIsAlwaysAnswered204(t *testing.T) {
	r := start(t, func(cfg *setup) { cfg.MaxBody = 4096 })
	for _, method := range []string{"POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FROBNICATE"} {
		for _, path := range []string{PathMessage, PathMessage + "/", "/" + PathMessage, PathMessage + "?token=x"} {
			for _, token := range []string{"", "wrong"} {
				got := r.post(path, "not JSON", func(r *http.Request) {
					r.Method = method
					r.Header.Del("Authorization")
					r.Header.Set("Content-Type", "text/plain")
					if token != "" {
						r.SetBasicAuth("broker", token)
					}
				})
				if got.status != 204 || got.body != "" {
					t.Errorf("%s %s %q: %d %q", method, path, token, got.status, got.body)
				}
			}
		}
	}
	for _, body := range []string{``, `{`, `[]`, `null`, `{}`, goodMessage + goodMessage, `{"senderId":7,"receiverId":"Bob"}`,
		strings.Repeat("[", 100_000), strings.Repeat(" ", 1<<20), `{"senderId":"A","senderId":"B","receiverId":"C"}`} {
		for _, length := range []int64{int64(len(body)), -1} {
			if got := r.post(PathMessage, body, func(r *http.Request) { r.ContentLength = length }); got.status != 204 {
				t.Errorf("%.20q: %d", body, got.status)
			}
		}
	}
	for _, method := range []string{"GET", "PUT"} { // with the right token
		r.post(PathMessage, goodMessage, func(r *http.Request) { r.Method = method })
	}
	if len(r.policy.messages) > 0 {
		t.Errorf("forwarded: %q", r.policy.messages)
	}
}

func TestMessageIsTaken(t *testing.T) {
	r := start(t, nil)
	r.policy.got = make(chan string, 8)
	for _, change := range []func(*http.Request){
		nil,
		func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		func(r *http.Request) { r.ContentLength = -1 },
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken) },
		func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "token=" + testToken },
	} {
		if got := r.post(PathMessage, goodMessage, change); got.status != 204 {
			t.Errorf("%d", got.status)
		}
		if got := <-r.policy.got; got != goodMessage {
			t.Errorf("%s", got)
		}
	}
	r.post(PathMessage, `{"receiverId":"b\u0000","senderId":"\ud800","new":[]}`, nil)
	<-r.policy.got
	if got := r.policy.messages[len(r.policy.messages)-1]; !strings.HasPrefix(got, "\ufffd b\x00 {") {
		t.Errorf("%q", got)
	}
}

// TestMessageIsAnsweredBeforeItsBody sends only half a body, sees the answer, sends the rest and uses the connection
// again.
func TestMessageIsAnsweredBeforeItsBody(t *testing.T) {
	r := start(t, nil)
	r.policy.got = make(chan string, 1)
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	answers := bufio.NewReader(c)
	read := func() {
		t.Helper()
		response, err := http.ReadResponse(answers, nil)
		if err != nil || response.StatusCode != http.StatusNoContent || response.Close {
			t.Fatalf("%+v, %v", response, err)
		}
	}
	head := func(length int) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", PathMessage, testToken, length)
	}
	write := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	write(head(len(goodMessage)) + goodMessage[:10])
	read()
	write(goodMessage[10:])
	if got := <-r.policy.got; got != goodMessage {
		t.Errorf("%s", got)
	}
	write(head(3<<20) + goodMessage) // far more than the server itself would read on
	read()
	write(strings.Repeat(" ", 3<<20-len(goodMessage)))
	write(head(len(goodMessage)) + goodMessage)
	read()
	if got := <-r.policy.got; got != goodMessage {
		t.Errorf("%s", got)
	}
	// Chunked, unauthorised, on the same connection.
	write("PUT " + PathMessage + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	read()
	write("5\r\nhello\r\n0\r\n\r\n")
	write(head(0))
	read()
}

// TestMessageOfBrokenChunks has what follows a malformed chunk look like a request: the connection ends with the
// answer.
func TestMessageOfBrokenChunks(t *testing.T) {
	smuggled := "POST " + PathResolve + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + testToken +
		"\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n" + `{"id":"Alice"}`
	for name, body := range map[string]string{
		"no size": "zz\r\n", "a size too long": "5\r\nhello world\r\n", "a size too large": "fffffffffffffffff\r\n", "no line feed": "5 \r5\r\n",
		"after a chunk": "5\r\nhello\r\nx\r\n", "nothing wrong": "0\r\n\r\n",
	} {
		for _, token := range []string{testToken, "wrong"} {
			t.Run(name+" "+token, func(t *testing.T) {
				r := start(t, nil)
				c, err := net.Dial("tcp", r.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n%s%s", PathMessage, token, body, smuggled)
				_ = c.(*net.TCPConn).CloseWrite()
				all, err := io.ReadAll(c)
				if err != nil {
					t.Errorf("the answer was cut off: %v", err)
				}
				want := 1
				if name == "nothing wrong" {
					want = 2
				}
				if n := strings.Count(string(all), "HTTP/1.1 "); n != want || !strings.HasPrefix(string(all), "HTTP/1.1 204 ") || len(r.registry.issued) != want-1 {
					t.Errorf("%d answers, %d credentials issued: %q", n, len(r.registry.issued), all)
				}
			})
		}
	}
}

// TestMessageExpectsContinue is of a client that sends its body only when it is told to.
func TestMessageExpectsContinue(t *testing.T) {
	r := start(t, nil)
	r.policy.got = make(chan string, 1)
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "POST %s?token=%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", PathMessage, testToken, len(goodMessage))
	answers := bufio.NewReader(c)
	for _, want := range []int{100, 204} {
		response, err := http.ReadResponse(answers, nil)
		if err != nil || response.StatusCode != want {
			t.Fatalf("%+v, %v", response, err)
		}
	}
	if _, err := io.WriteString(c, goodMessage); err != nil {
		t.Fatal(err)
	}
	if got := <-r.policy.got; got != goodMessage {
		t.Errorf("%s", got)
	}
}

// TestMessagePassesAFullQueue holds every slot with other webhooks.
func TestMessagePassesAFullQueue(t *testing.T) {
	blocking := &blockingRegistry{entered: make(chan struct{}, 1), release: make(chan struct{})}
	r := start(t, func(cfg *setup) { cfg.InFlight = 1; cfg.Asked.Registry = blocking })
	done := make(chan answer, 1)
	go func() { done <- r.post(PathAuthenticate, `{"id":"A"}`, nil) }()
	<-blocking.entered
	if got := r.post(PathMessage, goodMessage, nil); got.status != 204 {
		t.Errorf("%d", got.status)
	}
	close(blocking.release)
	if got := <-done; got.body != authenticatedTrue {
		t.Errorf("%s", got.body)
	}
}

type blockingRegistry struct {
	noRegistry
	entered, release chan struct{}
}

func (b *blockingRegistry) BanReason(string) (string, bool) {
	select {
	case b.entered <- struct{}{}:
	default:
	}
	<-b.release
	return "", false
}

func TestObserved(t *testing.T) {
	r := start(t, nil)
	r.policy.got = make(chan string, 1)
	r.post(PathAuthenticate, `{"id":"A"}`, nil)
	r.post(PathAuthenticate, `{"id":"Eve"}`, nil)
	r.post(PathAuthenticate, `{`, nil)
	r.post(PathResolve, `{"id":"Broken"}`, nil)
	r.post(PathResolve, `{"id":"Ben"}`, nil)
	r.post(PathAuthorize, `{}`, func(r *http.Request) { r.Header.Del("Authorization") })
	r.post(PathValidity, `{}`, func(r *http.Request) { r.Method = "GET" })
	r.post("/nowhere", `{}`, nil)
	want := []string{"authenticate ok", "authenticate refused", "authenticate invalid", "resolve error", "resolve refused", "authorize unauthorized", "validity method", "other not_found"}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.observed, want) {
		t.Errorf("%q", r.observed)
	}
	if text := r.log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "no listener is up") {
		t.Errorf("log: %s", text)
	}
}

// TestBanDuringAuthentication bans a Node while its policy is being asked.
func TestBanDuringAuthentication(t *testing.T) {
	asked := 0
	r := start(t, func(cfg *setup) { cfg.Asked.Registry = &lateBan{asked: &asked} })
	if got := r.post(PathAuthenticate, `{"id":"A"}`, nil); got.body != authenticatedFalse {
		t.Errorf("%s", got.body)
	}
}

type lateBan struct {
	noRegistry
	asked *int
}

func (l *lateBan) BanReason(string) (string, bool) {
	*l.asked++
	return "spam", *l.asked > 1
}

// validityOf takes the entries of a validity check where nobody is banned.
func validityOf(c *call) func(raw []byte, escaped bool) {
	v := &validity{d: &Decider{cfg: DeciderConfig{Registry: noRegistry{}}}}
	return func(raw []byte, escaped bool) { c.takeEntry(v, raw, escaped) }
}

func FuzzDecoders(f *testing.F) {
	for _, seed := range []string{`{"id":"Alice","data":"{\"token\":\"t\"}"}`, `{"nodeId":"A","id":"A"}`, `{"from":"A","to":"B"}`,
		`{"connectedNodesIds":["A","\ud800",7,[]]}`, goodMessage, `{"id":`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		request := func() *call {
			r, _ := http.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
			c := &call{r: r, limit: 1 << 20}
			c.paid = counted{share: share{of: newBudget()}, call: c}
			return c
		}
		node, data, failed := request().decodeNode()
		if failed == nil && (node == "" || len(data) > len(body)) {
			t.Errorf("node %q data %q", node, data)
		}
		if from, to, failed := request().decodePair(); failed == nil && (from == "" || to == "") {
			t.Errorf("pair %q %q", from, to)
		}
		message := request()
		message.body = body
		if from, to, failed := message.decodeMessage(); failed == nil && (from == "" || to == "") {
			t.Errorf("message %q %q", from, to)
		}
		validity := request()
		validity.out = []byte(`[`)
		check := validityOf(validity)
		if failed := validity.decodeConnected(bytes.NewReader(body), check); failed == nil && len(validity.out) > 1 {
			if text := append(validity.out[:len(validity.out)-1], ']'); !json.Valid(text) {
				t.Errorf("answer %q", text)
			}
		}
	})
}

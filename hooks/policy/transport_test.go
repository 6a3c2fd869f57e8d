package policy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fickle is a webhook that answers the first request of each connection and closes it when the next one has come, as a
// server does whose idle time ends just then.
func fickle(t *testing.T, answered *atomic.Int32) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for first := true; ; first = false {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if !first {
						return
					}
					answered.Add(1)
					const body = `{"authenticated":true,"authorized":true,"invalidNodesIds":[]}`
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// TestUpstreamClosesKeptConnections loses neither an answer nor a message to a connection that is just being closed.
func TestUpstreamClosesKeptConnections(t *testing.T) {
	var answered atomic.Int32
	url := fickle(t, &answered)
	cfg := upstreamConfig(url)
	cfg.Messages.Mode, cfg.Upstream.MessagesURL, cfg.Upstream.MessageWorkers = ModeUpstream, url, 1
	p := run(t, cfg)
	const n = 10
	for range n {
		if ok, cause := authenticate(t, p, "Alice", nil, []byte(`{"id":"Alice"}`)); !ok {
			t.Error(cause)
		}
		if ok, cause := authorize(t, p, "Alice", "Bob", nil); !ok {
			t.Error(cause)
		}
		invalid(t, p, "Alice")
		p.Message(Message{From: "a", To: "b", Body: []byte(`{}`)})
	}
	waitFor(t, func() bool { return p.Stats().MessagesForwarded == n })
	if s := p.Stats(); answered.Load() != 4*n || s.UpstreamFailures != 0 {
		t.Errorf("%d answers for %d calls; %+v", answered.Load(), 4*n, s)
	}
}

// TestUpstreamConnectionsAreRenewed counts the connections that calls need before and after the time of one has passed.
func TestUpstreamConnectionsAreRenewed(t *testing.T) {
	var conns atomic.Int32
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: says(`{"authenticated":true}`), ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			conns.Add(1)
		default:
		}
	}}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	now := newClock()
	cfg := upstreamConfig("http://" + listener.Addr().String())
	cfg.Now = now.Now
	p := run(t, cfg)
	ask := func(want int32) {
		t.Helper()
		for range 5 {
			if ok, cause := authenticate(t, p, "Alice", nil, []byte(`{}`)); !ok {
				t.Error(cause)
			}
		}
		if got := conns.Load(); got != want {
			t.Errorf("%d connections, want %d", got, want)
		}
	}
	ask(1)
	now.add(renewConns - time.Second)
	ask(1)
	now.add(time.Second)
	ask(2)
	now.add(renewConns)
	ask(3)
}

// TestUpstreamByteOrderMark reads answers of servers that begin them with one.
func TestUpstreamByteOrderMark(t *testing.T) {
	h := newHook(t, says("\ufeff"+`{"authenticated":true,"authorized":true,"invalidNodesIds":["Bob"]}`))
	p := run(t, upstreamConfig(h.URL))
	if ok, cause := authenticate(t, p, "Alice", nil, []byte(`{}`)); !ok {
		t.Error(cause)
	}
	if got := invalid(t, p, "Alice", "Bob"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// TestUpstreamBodiesWithoutHTTP is of a Broker in this process: the webhook is asked as if a Broker had called.
func TestUpstreamBodiesWithoutHTTP(t *testing.T) {
	h := newHook(t, says(`{"authenticated":true,"authorized":true}`))
	cfg := upstreamConfig(h.URL)
	cfg.Messages.Mode, cfg.Upstream.MessagesURL = ModeUpstream, h.URL
	p := run(t, cfg)
	p.Authenticate(t.Context(), Request{Node: "A\"", Data: []byte(`"{\"token\":\"t\"}"`)})
	p.Authenticate(t.Context(), Request{Node: "B"})
	p.Authorize(t.Context(), "A", "B\n", nil)
	p.Message(Message{From: "A", To: "B", Connected: true})
	waitFor(t, func() bool { return p.Stats().MessagesForwarded == 1 })
	if got := strings.Join(h.calls(), "\n"); got != `{"id":"A\"","data":"{\"token\":\"t\"}"}`+"\n"+`{"id":"B"}`+"\n"+`{"from":"A","to":"B\u000a"}`+"\n"+
		`{"senderId":"A","receiverId":"B","isReceiverConnected":true}` {
		t.Error(got)
	}
}

// TestLentBodies are not read after they were taken back.
func TestLentBodies(t *testing.T) {
	l := lent{text: []byte("hello")}
	for range 2 {
		r, _ := l.body()
		if text, err := io.ReadAll(r); err != nil || string(text) != "hello" {
			t.Errorf("%q, %v", text, err)
		}
	}
	r, _ := l.body()
	_, _ = io.CopyN(io.Discard, r, 2)
	l.takeBack()
	if n, err := r.Read(make([]byte, 9)); n > 0 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestUpstreamAnswersAreReadAsTheyCome asks about two Nodes, and is told of a million: no more is kept than was asked for.
func TestUpstreamAnswersAreReadAsTheyCome(t *testing.T) {
	others := []byte(strings.Repeat(`"nobody",`, 1<<14))
	long := []byte(`"` + strings.Repeat("x", 3*maxAnswer) + `",`)
	for name, c := range map[string]struct {
		part  []byte
		parts int
		cause error
	}{
		"many names": {others, 100, nil}, "too many": {others, 200, errAnswerLarge}, "one long name": {long, 1, errAnswerLarge},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"invalidNodesIds":["\u0042ob",`)
				for range c.parts {
					if _, err := w.Write(c.part); err != nil {
						return
					}
				}
				_, _ = io.WriteString(w, `"Bob"]}`)
			})
			cfg := upstreamConfig(h.URL)
			cfg.Upstream.Timeout = time.Minute
			p := run(t, cfg)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var got []string
			err := p.Invalid(t.Context(), slices.Values([]string{"Alice", "Bob"}), nil, func(node, _ string) { got = append(got, node) })
			runtime.ReadMemStats(&after)
			if !errors.Is(err, c.cause) || len(got) > 0 != (c.cause == nil) || c.cause == nil && !slices.Equal(got, []string{"Bob"}) {
				t.Errorf("named %q, %v", got, err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("%d kB were allocated for it", n>>10)
			}
		})
	}
}

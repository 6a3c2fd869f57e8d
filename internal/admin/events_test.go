package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// stream opens /api/events and returns its lines.
func (s *server) stream(query string) (*bufio.Scanner, *http.Response) {
	s.t.Helper()
	resp, err := http.Get(s.url + "/api/events" + query)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	return bufio.NewScanner(resp.Body), resp
}

// next returns the data of the next event of a kind.
func next(t *testing.T, lines *bufio.Scanner, kind string) string {
	t.Helper()
	name := ""
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = n
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && name == kind {
			return data
		}
	}
	t.Fatalf("no %s event: %v", kind, lines.Err())
	return ""
}

func TestEvents(t *testing.T) {
	s := serve(t, "", func(c *Config) { c.MaxStreams = 2 })
	all, resp := s.stream("")
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("header %v", resp.Header)
	}
	var live adminapi.Live
	if err := json.Unmarshal([]byte(next(t, all, "stats")), &live); err != nil {
		t.Fatal(err)
	}
	if live.Allocations != 3 || live.BytesIn != 1010 || live.BytesOut != 2000 || live.DatagramsIn != 11 || live.Drops != 7 ||
		live.Opened != 6 || live.Refusals["401 expired"] != 7 || live.ByTransport["tls"] != 1 {
		t.Errorf("stats %+v", live)
	}
	one, _ := s.stream("?node=alice")
	if !one.Scan() || one.Text() != "retry: 2000" {
		t.Fatalf("first line %q", one.Text())
	}
	s.want("GET", "/api/events", "", 429, `{"error":"2 clients follow the events already: close one"}`)
	s.registry.Refused("bob", "not alice's")
	s.registry.Refused("alice", "line\nfeed")
	var e nodes.Event
	if err := json.Unmarshal([]byte(next(t, one, "note")), &e); err != nil || e.Node != "alice" || e.Detail != "line?feed" {
		t.Errorf("%+v %v", e, err)
	}
	if data := next(t, all, "note"); !strings.Contains(data, `"node":"bob"`) {
		t.Errorf("first note %s", data)
	}
	next(t, all, "stats")
	s.stop() // must end the streams, and so itself, at once
	for all.Scan() {
	}
	for one.Scan() {
	}
	if all.Err() != nil || one.Err() != nil {
		t.Errorf("the streams did not end cleanly: %v, %v", all.Err(), one.Err())
	}
}

func TestHeartbeat(t *testing.T) {
	s := serve(t, "", nil)
	s.admin.tick, s.admin.heartbeat = 5*time.Millisecond, 20*time.Millisecond
	lines, _ := s.stream("?node=x")
	for lines.Scan() {
		if lines.Text() == ": alive" {
			return
		}
	}
	t.Fatalf("no heartbeat: %v", lines.Err())
}

func TestStreamEndsWithItsClient(t *testing.T) {
	s := serve(t, "", func(c *Config) { c.MaxStreams = 1 })
	s.admin.tick = 5 * time.Millisecond
	_, resp := s.stream("")
	_ = resp.Body.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp, err := http.Get(s.url + "/api/events")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a client that went is not free again")
		}
	}
}

func TestStreamOutlivesTheListenersTimes(t *testing.T) {
	s := serve(t, "", nil)
	s.admin.tick = 20 * time.Millisecond
	guard, err := webguard.New(webguard.Config{
		Listen: "127.0.0.1:0", Handler: s.admin, Exempt: Exempt, InFlight: 1,
		HeaderTimeout: 100 * time.Millisecond, BodyTimeout: 100 * time.Millisecond, WriteTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- guard.Run(ctx) }()
	defer func() {
		s.stop() // ends the streams
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	s.url = "http://" + guard.Addr().String()
	lines, _ := s.stream("")
	for range 30 { // of which the listener's times would let some five pass
		next(t, lines, "stats")
	}
	s.want("GET", "/healthz", "", 200, `{"status":"ok"}`)
	s.want("GET", "/api/bans", "", 200, `{"bans":[],"total":0}`) // the stream takes no place among the requests in flight
}

func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	s := serve(t, "", nil)
	s.admin.writeWait = 50 * time.Millisecond
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	streams := func() int {
		s.admin.mu.Lock()
		defer s.admin.mu.Unlock()
		return s.admin.streams
	}
	deadline := time.Now().Add(30 * time.Second)
	for opened := false; !opened || streams() > 0; {
		opened = opened || streams() > 0
		s.registry.Refused("n", strings.Repeat("x", 200)+time.Now().String())
		if time.Now().After(deadline) {
			t.Fatal("it is still served")
		}
	}
}

// TestEventsForSeconds is what polls: an answer that ends by itself, with what happened until then.
func TestEventsForSeconds(t *testing.T) {
	s := serve(t, "", nil)
	for _, bad := range []string{"0", "31", "-1", "x", "1.5"} {
		s.want("GET", "/api/events?seconds="+bad, "", 400, `{"error":"seconds must be a number from 1 to 30"}`)
	}
	lines, _ := s.stream("?seconds=1")
	next(t, lines, "stats")
	s.registry.Refused("bob", "not alice's")
	next(t, lines, "note")
	for lines.Scan() {
	}
	if lines.Err() != nil || s.following() != 0 {
		t.Errorf("%v, %d streams", lines.Err(), s.following())
	}
}

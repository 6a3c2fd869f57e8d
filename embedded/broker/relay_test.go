package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

const attempt = `{"platformFrom":"JVM","versionFrom":"1","from":"Alice","to":"Bob","sessionId":"s","sessionDescription":"v=0"}`

func TestRelayEveryEvent(t *testing.T) {
	r := start(t, nil)
	alice, bob := r.join("Alice"), r.join("Bob")
	for i, e := range relayedEvents {
		alice.write(payload(i, e.name, attempt))
		alice.want(fmt.Sprintf(`43%d["OK"]`, i))
		bob.want(`42["` + e.name + `",` + string(quote([]byte(attempt))) + `]`)
	}
	// The bytes that came go out, however they were escaped.
	alice.write(`4207["CONNECTION_\u0041TTEMPT", "{\"\u0074o\":\"\ufeff Bob\\n\",\"x\":\"\\ud800é\",\"to\":\"\u0042ob\"}" ]`)
	alice.want(`437["OK"]`)
	bob.want(`42["CONNECTION_ATTEMPT","{\"\u0074o\":\"\ufeff Bob\\n\",\"x\":\"\\ud800é\",\"to\":\"\u0042ob\"}"]`)
	big := `{"to":"Bob","x":"` + strings.Repeat("é", 400_000) + `"}`
	alice.write(payload(1, "SOCKET_MSG_EXCHANGE", big))
	alice.want(`431["OK"]`)
	bob.want(`42["SOCKET_MSG_EXCHANGE",` + string(quote([]byte(big))) + `]`)

	alice.write(payload(2, "SOCKET_MSG_EXCHANGE", `{"to":"Alice"}`)) // to oneself: OK, and nothing comes
	alice.want(`432["OK"]`)
	alice.write(payload(3, "SOCKET_MSG_EXCHANGE", `{"to":"Carol"}`))
	alice.want(`433["NOT_CONNECTED"]`)
	want := []string{"Alice>Bob true", "Alice>Bob true", "Alice>Alice true", "Alice>Carol false"}
	if !reflect.DeepEqual(r.decider.messages, want) {
		t.Errorf("messages %q", r.decider.messages)
	}
	node, ok := r.b.Node("Alice")
	if !ok || node.Attempts != 2 || node.Acceptances != 1 || node.Refusals != 2 || node.Candidates != 2 || node.Messages != 3 || node.Version != "1" || node.Runtime != "JVM" {
		t.Errorf("%+v", node)
	}
}

func TestBadPayloads(t *testing.T) {
	r := start(t, nil)
	alice, bob := r.join("Alice"), r.join("Bob")
	for i, arg := range []string{`null`, `7`, `true`, `{"to":"Bob"}`, `["{\"to\":\"Bob\"}"]`, `""`, `"x"`, `"{"`, `"null"`, `"7"`, `"[]"`, `"{}"`, `"{\"to\":7}"`,
		`"{\"to\":null}"`, `"{\"to\":\"\"}"`, `"{\"to\":\" \\n\\ufeff\"}"`, `"{\"To\":\"Bob\"}"`, `"{\"to\":\"Bob\",\"to\":1}"`, `"{\"to\":\"Bob\"}x"`, `"{\"to\":\"Bob\",}"`} {
		for _, e := range []string{"CONNECTION_ATTEMPT", "CONNECTION_REFUSAL", "SOCKET_MSG_EXCHANGE"} {
			alice.write(fmt.Sprintf(`42%d["%s",%s]`, i, e, arg))
			if got, want := alice.read(), fmt.Sprintf(`43%d["ERROR"]`, i); got != want {
				t.Errorf("%s: %s", arg, got)
			}
		}
	}
	alice.write(`42["CONNECTION_ATTEMPT"]`)
	alice.write(`4299["CONNECTION_ATTEMPT"]`)
	alice.write(`451-5["CONNECTION_ATTEMPT",{"_placeholder":true,"num":0}]`)
	alice.write("bAAAA")
	alice.want(`435["ERROR"]`)
	alice.write(payload(0, "CONNECTION_ATTEMPT", `{"to":"Bob","deep":`+strings.Repeat("[", 400_000)+strings.Repeat("]", 400_000)+`}`))
	alice.want(`430["OK"]`)
	if m := bob.read(); len(m) < 800_000 {
		t.Errorf("%.80s", m)
	}
}

func TestAskConnected(t *testing.T) {
	r := start(t, nil)
	alice := r.join("Alice")
	for ids, want := range map[string]string{
		`{"ids":["Alice"," Bob ","Alice"]}`: `{"results":[{"id":"Alice","connected":true},{"id":"Bob","connected":false},{"id":"Alice","connected":true}]}`,
		`{"ids":[]}`:                        `{"results":[]}`,
		`{"ids":["é\u2028\n\"x"]}`:          `{"results":[{"id":"é` + "\u2028" + `\n\"x","connected":false}]}`,
		`{"ids":"Alice"}`:                   "ERROR", `{"ids":["Alice",7]}`: "ERROR", `{"ids":[" "]}`: "ERROR", `{}`: "ERROR", `[]`: "ERROR", `null`: "ERROR", `x`: "ERROR",
	} {
		alice.write(payload(3, askConnected, ids))
		if got := alice.read(); got != `433[`+string(quote([]byte(want)))+`]` {
			t.Errorf("%s: %s", ids, got)
		}
	}
	alice.write(`424["ARE_NODES_CONNECTED_TO_BROKER",null]`)
	alice.want(`434["ERROR"]`)
}

func TestSwitchesAndSender(t *testing.T) {
	r := start(t, func(c *Config) { c.Settings = Settings{CheckSender: true} })
	alice := r.join("Alice")
	for _, e := range relayedEvents {
		alice.write(fmt.Sprintf(`421["%s",null]`, e.name))
		alice.want(`431["DISABLED"]`)
	}
	next, err := r.b.Prepare(Settings{P2P: true, RelayMessages: true, CheckSender: true})
	if err != nil {
		t.Fatal(err)
	}
	next.Apply()
	bob := r.join("Bob")
	for inner, want := range map[string]string{
		`{"to":"Bob","from":"Alice"}`:                "OK",
		`{"to":"Bob"}`:                               "OK",
		`{"to":"Bob","from":"Carol"}`:                "ERROR",
		`{"to":"Bob","from":null}`:                   "ERROR",
		`{"to":"Bob","from":"Alice","from":"Carol"}`: "ERROR",
	} {
		alice.write(payload(1, "CONNECTION_REFUSAL", inner))
		alice.want(`431["` + want + `"]`)
		if want == "OK" {
			bob.want(`42["CONNECTION_REFUSAL",` + string(quote([]byte(inner))) + `]`)
		}
	}
}

// Policies that take their time do not change the order of a Node's messages, and hold up nobody else.
func TestOrderWithSlowPolicy(t *testing.T) {
	r := start(t, nil)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	r.decider.authorize = func(ctx context.Context, from, _ string) Verdict {
		if from != "Alice" {
			return Verdict{Refused, "not today"}
		}
		asked <- struct{}{}
		<-answer
		return Verdict{Allowed, ""}
	}
	alice, bob := r.join("Alice"), r.join("Bob")
	alice.write(payload(1, "CONNECTION_ATTEMPT", attempt))
	alice.write(payload(2, "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER", `{"to":"Bob","candidate":{"sdp":"candidate:1 1 udp 1 10.0.0.1 9 typ srflx raddr 0.0.0.0"}}`))
	<-asked
	bob.write(payload(1, "CONNECTION_ATTEMPT", `{"to":"Alice"}`))
	bob.want(`431["UNAUTHORIZED"]`)
	close(answer)
	alice.want(`431["OK"]`, `432["OK"]`)
	for _, e := range []string{"CONNECTION_ATTEMPT", "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER"} {
		if m := bob.read(); !strings.HasPrefix(m, `42["`+e) {
			t.Errorf("%.60s, want %s", m, e)
		}
	}
	r.events.await(t, func(e Event) bool {
		return e.Kind == Answered && e.Candidates == Candidates{Srflx: 1} && e.Peer == "Bob"
	})
	r.events.await(t, func(e Event) bool {
		return e.Kind == Answered && e.Node == "Bob" && e.Answer == "UNAUTHORIZED" && e.Cause == "not today"
	})
}

// Candidates are counted by kind, those in a session description too, however it is escaped.
func TestCandidates(t *testing.T) {
	sdp := "v=0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=candidate:2 1 udp 1 192.0.2.2 9 typ srflx raddr 0.0.0.0 rport 0\r\n" +
		"a=candidate:3 1 tcp 1 192.0.2.3 9 typ relay\r\na=remote-candidates:1 192.0.2.1 9\r\na=candidate:4 1 udp 1 192.0.2.4 9 typ prflx\r\n" +
		"a=candidate:5 1 udp 1 192.0.2.5 9 typ odd\r\na=end-of-candidates\r\n"
	inner, err := json.Marshal(map[string]any{"to": "Bob", "sessionDescription": map[string]string{"sdp": sdp}})
	if err != nil {
		t.Fatal(err)
	}
	twice, _ := json.Marshal(map[string]any{"to": "Bob", "sessionDescription": string(inner)})
	for text, want := range map[string]Candidates{
		string(inner): {Host: 1, Srflx: 1, Prflx: 1, Relay: 1, Other: 1},
		string(twice): {Host: 1, Srflx: 1, Prflx: 1, Relay: 1, Other: 1},
		`{"to":"Bob","candidate":{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ relay","sdpMid":"0"}}`: {Relay: 1},
		`{"to":"Bob","candidate":{"candidate":""}}`:                                                       {},
		`{"to":"Bob","candidate":{"candidate":"candidate:"}}`:                                             {},
		`{"to":"Bob","candidate":{"candidate":"candidate:1"}}`:                                            {Other: 1},
		`{"to":"Bob","content":"typ host candidate typ relay"}`:                                           {},
	} {
		var m message
		if !m.read(quote([]byte(text)), new([]byte), true) || m.candidates != want {
			t.Errorf("%s: %+v", text, m.candidates)
		}
	}
}

// A receiver whose name is too long for an id is nobody: it is asked about nowhere, and what is told of it is not kept.
func TestReceiverThatNobodyCanBe(t *testing.T) {
	r := start(t, nil)
	r.decider.authorize = func(_ context.Context, _, to string) Verdict {
		t.Errorf("asked about %d bytes", len(to))
		return Verdict{Allowed, ""}
	}
	alice := r.join("Alice")
	alice.write(payload(1, "CONNECTION_ATTEMPT", `{"to":"`+strings.Repeat("x", 100_000)+`"}`))
	alice.want(`431["NOT_CONNECTED"]`)
	if e := r.events.await(t, func(e Event) bool { return e.Kind == Answered }); e.Peer != "" || e.Cause == "" {
		t.Errorf("told: %d bytes, %q", len(e.Peer), e.Cause)
	}
}

// A thousand Nodes can be asked about at once, and no more.
func TestAskedAboutTooMany(t *testing.T) {
	r := start(t, nil)
	alice := r.join("Alice")
	ask := func(id, n int) {
		alice.write(payload(id, askConnected, `{"ids":["x"`+strings.Repeat(`,"x"`, n-1)+`]}`))
	}
	ask(1, maxAsked)
	if m := alice.readAny(); !strings.HasPrefix(m, `431["{`) {
		t.Errorf("of %d: %.60s", maxAsked, m)
	}
	ask(2, maxAsked+1)
	alice.want(`432["ERROR"]`)
}

// A Node that has left and keeps its connection is a stranger: it has as long to join again, and no longer.
func TestLeftAndStayed(t *testing.T) {
	r := start(t, func(c *Config) { c.timing.join = 300 * time.Millisecond })
	alice := r.join("Alice")
	alice.write("41")
	alice.want("close 1005")
	alice.over()
}

// An announced body that does not come is not waited for.
func TestBodyThatDoesNotCome(t *testing.T) {
	r := start(t, func(c *Config) { c.timing.handshake = 300 * time.Millisecond })
	for _, path := range []string{"/socket.io/", "/x"} {
		nc, err := net.Dial("tcp", r.b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n", path)
		_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, nc); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What carries no message counts as one, and a message has only so many frames.
func TestFramesWithoutMessagesCount(t *testing.T) {
	for name, f := range map[string]ws.Frame{"text": ws.NewTextFrame([]byte("3")), "pong": ws.NewPongFrame(nil), "ping": ws.NewPingFrame(nil)} {
		r := start(t, func(c *Config) { c.Settings.Limits.MessagesPerSecond = 50 })
		alice := r.join("Alice")
		for range 60 {
			alice.frame(f)
		}
		eventually(t, name+" is slowed down", func() bool { return r.b.Stats().SlowedDown > 0 })
	}
	r := start(t, nil)
	alice := r.join("Alice")
	var all []byte
	for i := range maxFrames + 2 {
		op := ws.OpContinuation
		if i == 0 {
			op = ws.OpText
		}
		f, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, false, nil)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f...)
	}
	_, _ = alice.nc.Write(all)
	alice.want("41", "close 1008")
	alice.over()
}

package broker

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// Node.js itself has parsed the queries of the golden file.
func TestQueryAsNodeJS(t *testing.T) {
	text, err := os.ReadFile("testdata/query.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Raw []byte
		ID  any
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		var want []string
		switch id := c.ID.(type) {
		case string:
			want = []string{id}
		case []any:
			for _, one := range id {
				want = append(want, one.(string))
			}
		}
		if got := parseQuery(string(c.Raw)).id; !reflect.DeepEqual(got, want) {
			t.Errorf("%.60q: id is %q, Node.js says %q", c.Raw, got, want)
		}
	}
}

func TestHandshakeErrors(t *testing.T) {
	r := start(t, nil)
	base := "http://" + r.b.Addr().String()
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/socket.io", 404, ""},
		{"GET", "/socket.io/", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "/socket.io/?EIO=4&transport=polling", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "/socket.io/any/thing?EIO=4&transport=websocket&sid=x", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"POST", "/socket.io/?EIO=4&transport=websocket", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"GET", "/socket.io/?EIO=4&transport=websocket", 400, `{"code":3,"message":"Bad request"}`},
		{"OPTIONS", "/socket.io/?EIO=4&transport=websocket", 204, ""},
	} {
		req, _ := http.NewRequest(c.method, base+c.path, nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := new(strings.Builder)
		_, _ = readAll(body, res)
		if res.StatusCode != c.status || body.String() != c.body {
			t.Errorf("%s %s: %d %s", c.method, c.path, res.StatusCode, body)
		}
		if cors := res.Header.Get("Access-Control-Allow-Origin"); (cors == "*") != strings.HasPrefix(c.path, "/socket.io/") {
			t.Errorf("%s: Access-Control-Allow-Origin %q", c.path, cors)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	for query, want := range map[string]string{
		"EIO=4&transport=polling&id=a":         "Transport unknown",
		"EIO=4&transport=websocket&sid=x&id=a": "Session ID unknown",
		"EIO=3&transport=websocket&id=a":       "Unsupported protocol version",
	} {
		w := r.rawDial(query)
		body := new(strings.Builder)
		_, _ = readAll(body, w.head)
		if w.head.StatusCode != 400 || body.String() != want || w.head.Header.Get("Content-Type") != "text/html" {
			t.Errorf("%s: %d %s", query, w.head.StatusCode, body)
		}
	}
}

func readAll(to *strings.Builder, res *http.Response) (int64, error) {
	defer res.Body.Close()
	var buf [4096]byte
	for {
		n, err := res.Body.Read(buf[:])
		to.Write(buf[:n])
		if err != nil {
			return int64(to.Len()), nil
		}
	}
}

func TestJoin(t *testing.T) {
	r := start(t, nil)
	w := r.rawDial(nodeQuery("Alice"))
	if w.head.StatusCode != 101 || w.head.Header.Get("Access-Control-Allow-Origin") != "*" || w.head.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("%d %v", w.head.StatusCode, w.head.Header)
	}
	first := w.read()
	var open struct {
		SID                                   string
		Upgrades                              []string
		PingInterval, PingTimeout, MaxPayload int
	}
	if err := json.Unmarshal([]byte(first[1:]), &open); err != nil || len(open.SID) != 20 || open.PingInterval != 25000 || open.PingTimeout != 20000 || open.MaxPayload != 1e6 {
		t.Errorf("%s, %v", first, err)
	}
	w.write("40/admin,")
	w.want(`44/admin,{"message":"Invalid namespace"}`)
	w.write(`40{"token":1}`)
	connected := w.read()
	if len(connected) != len(`40{"sid":""}`)+20 || strings.Contains(connected, open.SID) {
		t.Errorf("CONNECT answered %s", connected)
	}
	want := `42["AUTHENTICATED","{\n  \"iceServers\": [\n    {\n      \"urls\": [\n        \"stun:x\"\n      ]\n    }\n  ],\n  \"iceCandidatePoolSize\": 0\n}"]`
	w.want(want)
	w.write("41")
	w.write("40") // once more on the same connection
	if m := w.read(); !strings.HasPrefix(m, `40{"sid":"`) || m == connected {
		t.Errorf("second CONNECT answered %s", m)
	}
	w.want(want)
	w.write("40")
	w.want("41", "close 1005")
	w.over()
}

func TestRefusals(t *testing.T) {
	r := start(t, nil)
	r.decider.authenticate = func(_ context.Context, j Join) Admission {
		if j.Node == "Mallory" {
			return Admission{Verdict: Verdict{Refused, "no token"}}
		}
		return Admission{Verdict{Allowed, ""}, true}
	}
	base := "EIO=4&transport=websocket"
	for query, want := range map[string]string{
		base:                                    "server side exception: Error: Missing required OnConnectionData value: id",
		base + "&id=a&id=b&version=1&runtime=j": "server side exception: Error: Missing required OnConnectionData value: id",
		base + "&id=a":                          "server side exception: Error: Missing required OnConnectionData value: version",
		base + "&id=a&version=":                 "server side exception: Error: Missing required OnConnectionData value: runtime",
		base + "&id=Mallory&version=1&runtime=j&data=": "authentication failed",
	} {
		w := r.dial(query)
		w.write("40")
		w.want(`44{"message":"` + want + `"}`)
		w.write("40") // the connection stays
		w.want(`44{"message":"` + want + `"}`)
		w.write(`420["CONNECTION_ATTEMPT","{}"]`)
		w.want("close 1005")
		w.over()
	}
	w := r.dial(base + "&id=&version=&runtime=")
	w.joined() // empty strings pass
	if e := r.events.await(t, func(e Event) bool { return e.Kind == JoinRefused && e.Node == "Mallory" }); e.Cause != "no token" {
		t.Errorf("%+v", e)
	}
}

func TestProtocolViolations(t *testing.T) {
	r := start(t, nil)
	for name, c := range map[string]struct {
		send func(w *wire)
		want string
	}{
		"ping of the client": {func(w *wire) { w.write("2") }, "close 1005"},
		"unknown type":       {func(w *wire) { w.write("9") }, "close 1005"},
		"bad JSON":           {func(w *wire) { w.write(`420["A"`) }, "close 1005"},
		"no array":           {func(w *wire) { w.write(`420{}`) }, "close 1005"},
		"reserved event":     {func(w *wire) { w.write(`420["disconnect"]`) }, "close 1005"},
		"not UTF-8":          {func(w *wire) { w.write("420[\"\xff\"]") }, "close 1007"},
		"too long":           {func(w *wire) { w.write("4" + strings.Repeat("x", 1_000_000)) }, "close 1009"},
		"reserved bits":      {func(w *wire) { f := ws.NewTextFrame([]byte("3")); f.Header.Rsv = 4; w.frame(f) }, "close 1002"},
		"fragment of nothing": {func(w *wire) {
			w.frame(ws.NewFrame(ws.OpContinuation, true, []byte("3")))
		}, "close 1002"},
		"unmasked": {func(w *wire) { _ = ws.WriteFrame(w.nc, ws.NewTextFrame([]byte("3"))) }, "close 1002"},
	} {
		t.Run(name, func(t *testing.T) {
			w := r.join("Alice")
			c.send(w)
			w.want("41", c.want)
			w.over()
			r.events.await(t, func(e Event) bool { return e.Kind == Left })
			r.events.mu.Lock()
			r.events.all = nil
			r.events.mu.Unlock()
		})
	}
	w := r.dial(nodeQuery("Bob"))
	w.write(`420["A"]`) // before CONNECT
	w.want("close 1005")
	w.over()
}

func TestIgnored(t *testing.T) {
	r := start(t, nil)
	w := r.join("Alice")
	for _, m := range []string{"1", "6", "3", "0{}", "42", "427", `42["UNKNOWN",1]`, `421["UNKNOWN",1]`, `42[7]`, `43["x"]`, `4399[]`,
		`42["CONNECTION_ATTEMPT","{\"to\":\"Alice\"}"]`, `423["CONNECTION_ATTEMPT","a","b"]`, `424["ARE_NODES_CONNECTED_TO_BROKER"`[:0] + "6",
		`42["ARE_NODES_CONNECTED_TO_BROKER","{\"ids\":[]}"]`} {
		w.write(m)
	}
	w.frame(ws.NewPingFrame([]byte("hi")))
	w.want("opcode 10 hi")
	w.frame(ws.NewFrame(ws.OpText, false, []byte(`429["ARE_NODES_CONN`)))
	w.frame(ws.NewPongFrame(nil))
	w.frame(ws.NewFrame(ws.OpContinuation, true, []byte(`ECTED_TO_BROKER","{\"ids\":[]}"]`)))
	w.want(`439["{\"results\":[]}"]`)
	w.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye")))
	w.want("close 1000")
	w.over()
}

package broker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// A connection that is cut after any byte of what it was about to send takes nothing from others, and leaves nothing behind.
func TestCutAnywhere(t *testing.T) {
	r := start(t, quickly)
	bob := r.join("Bob")
	var all []byte
	for _, m := range []string{"40", payload(1, "SOCKET_MSG_EXCHANGE", `{"to":"Carol","x":"é🦊"}`), payload(2, askConnected, `{"ids":["Bob"]}`),
		`451-["A",{"_placeholder":true,"num":0}]`, "41"} {
		b, err := ws.CompileFrame(ws.MaskFrameInPlaceWith(ws.NewTextFrame([]byte(m)), [4]byte{1, 2, 3, 4}))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for cut := range len(all) {
		w := r.rawDial(nodeQuery(fmt.Sprint("Alice", cut)))
		if _, err := w.nc.Write(all[:cut]); err != nil {
			t.Fatal(err)
		}
		if cut%2 == 0 {
			_ = w.nc.(*net.TCPConn).SetLinger(0) // a reset
		}
		w.nc.Close()
	}
	eventually(t, "only Bob is left", func() bool { ids := r.b.claims(); return len(ids) == 1 && ids[0] == "Bob" })
	bob.write(payload(1, askConnected, `{"ids":["Bob"]}`))
	bob.want(`431["{\"results\":[{\"id\":\"Bob\",\"connected\":true}]}"]`)
}

// What is deep, or wrong in its text, is answered or ends that connection alone, and costs no more than its length.
func TestDeepAndWrong(t *testing.T) {
	r := start(t, quickly)
	bob := r.join("Bob")
	deep := func(open, inside, shut string) string {
		const n = 150_000
		return strings.Repeat(open, n) + inside + strings.Repeat(shut, n)
	}
	plain, keyed := deep("[", "", "]"), deep(`{"a":`, "1", "}")
	for name, c := range map[string]struct {
		send func(w *wire)
		want string // empty: an answer or an end, whichever
	}{
		"deep in an event":           {send: func(w *wire) { w.write(`421["CONNECTION_ATTEMPT",` + plain + `]`) }},
		"deep in a payload":          {send: func(w *wire) { w.write(payload(1, "CONNECTION_ATTEMPT", `{"to":"Bob","x":`+plain+`}`)) }},
		"deep objects in a payload":  {send: func(w *wire) { w.write(payload(1, "SOCKET_MSG_EXCHANGE", keyed)) }},
		"deep in a question":         {send: func(w *wire) { w.write(payload(1, askConnected, `{"ids":[`+plain+`]}`)) }},
		"deep in an acknowledgement": {send: func(w *wire) { w.write(`431` + plain); w.write(payload(1, askConnected, `{"ids":[]}`)) }},
		"deep in CONNECT":            {send: func(w *wire) { w.write("40" + keyed) }},
		"a deep start":               {send: func(w *wire) { w.write("42" + strings.Repeat("[", 900_000)) }},
		"UTF-8 cut by a fragment": {send: func(w *wire) { // is none: both together are text
			w.frame(ws.NewFrame(ws.OpText, false, append([]byte(`421["ARE_NODES_CONNECTED_TO_BROKER","{\"ids\":[\"`), 0xc3)))
			w.frame(ws.NewFrame(ws.OpContinuation, true, append([]byte{0xa9}, `\"]}"]`...)))
		}, want: `431["{\"results\":[{\"id\":\"é\",\"connected\":false}]}"]`},
		"UTF-8 that ends early":       {send: func(w *wire) { w.write("421[\"A\",\"\xe2\x82\"]") }, want: "41"},
		"a surrogate in UTF-8":        {send: func(w *wire) { w.write("421[\"A\",\"\xed\xa0\x80\"]") }, want: "41"},
		"an overlong form":            {send: func(w *wire) { w.write("421[\"A\",\"\xc0\xaf\"]") }, want: "41"},
		"a lone surrogate as escape":  {send: func(w *wire) { w.write(`421["SOCKET_MSG_EXCHANGE","{\"to\":\"\\ud800\"}"]`) }, want: `431["NOT_CONNECTED"]`},
		"a close frame of wrong text": {send: func(w *wire) { w.frame(ws.NewCloseFrame([]byte{3, 0xe8, 0xff})) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := r.join("Alice")
			c.send(w)
			got := w.read()
			if c.want != "" && got != c.want {
				t.Errorf("answered %.100q, want %q", got, c.want)
			}
			w.nc.Close()
			eventually(t, "it has left", func() bool { return len(r.b.claims()) == 1 })
		})
	}
	carol := r.join("Carol")
	for i := range 1000 { // whatever of Alice's was passed on comes first
		text := fmt.Sprintf(`{"to":"Bob","n":%d}`, i)
		carol.write(payload(i, "SOCKET_MSG_EXCHANGE", text))
		carol.want(fmt.Sprintf(`43%d["OK"]`, i))
		if i == 0 {
			for m := bob.read(); m != `42["SOCKET_MSG_EXCHANGE",`+string(quote([]byte(text)))+`]`; m = bob.read() {
			}
			break
		}
	}
}

// Ids of every kind join, are reached under exactly that id, and by no other.
func TestIDsOfEveryKind(t *testing.T) {
	r := start(t, quickly)
	asker := r.join("asker")
	ids := []string{"", "a", "A", "__proto__", "constructor", "toString", "é", "e\u0301", "🦊", "a b", "a\tb", "a\x00b", "<script>", `"\`, "socket.io#/#x#",
		"\u202eabc", "null", "0", "%41", "a+b&c=d", strings.Repeat("x", 4000), strings.Repeat("🦊", 600)}
	var nodes []*wire
	for i, id := range ids {
		w := r.join(id)
		nodes = append(nodes, w)
		again := r.b.claims()
		if len(again) != i+2 {
			t.Fatalf("%.20q is the same as another: %d ids", id, len(again))
		}
	}
	for i, id := range ids {
		text := string(quote([]byte(id)))
		asker.write(payload(i, "SOCKET_MSG_EXCHANGE", `{"to":`+text+`}`))
		if id == "" { // nobody can send to it, as with the original
			asker.want(fmt.Sprintf(`43%d["ERROR"]`, i))
			continue
		}
		asker.want(fmt.Sprintf(`43%d["OK"]`, i))
		nodes[i].want(`42["SOCKET_MSG_EXCHANGE",` + string(quote([]byte(`{"to":`+text+`}`))) + `]`)
	}
	// A socket's id is no Node's.
	r.b.mu.RLock()
	sid := r.b.nodes["a"].sid
	r.b.mu.RUnlock()
	asker.write(payload(500, "SOCKET_MSG_EXCHANGE", `{"to":"`+sid+`"}`))
	asker.want(`43500["NOT_CONNECTED"]`)
	// One that no header can carry is refused before it is anything.
	if w := r.rawDial(nodeQuery(strings.Repeat("x", 20_000))); w.head.StatusCode != 431 {
		t.Errorf("answered %s", w.head.Status)
	}
}

// A real Redis that is slow, full or read-only for a while: who is here stays and talks, newcomers are told to try again, and
// all is well when it is.
func TestRealRedisInTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		trouble, relief func(s *redistest.Server, do func(args ...any))
	}{
		"slow": {func(s *redistest.Server, _ func(...any)) { _ = s.Stop() }, func(s *redistest.Server, _ func(...any)) { _ = s.Continue() }},
		"full": {
			func(_ *redistest.Server, do func(...any)) { do("CONFIG", "SET", "maxmemory", "1") },
			func(_ *redistest.Server, do func(...any)) { do("CONFIG", "SET", "maxmemory", "0") },
		},
		"read-only": {
			func(_ *redistest.Server, do func(...any)) { do("REPLICAOF", "127.0.0.1", "1") },
			func(_ *redistest.Server, do func(...any)) { do("REPLICAOF", "NO", "ONE") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Serve(t)
			client := openRedis(t, s.Addr)
			do := func(args ...any) {
				t.Helper()
				if err := client.Do(context.Background(), args...).Err(); err != nil {
					t.Fatalf("%v: %v", args, err)
				}
			}
			r := start(t, func(cfg *Config) {
				cfg.Redis, cfg.StatusInterval, cfg.LockTTL = openRedis(t, s.Addr), 100*time.Millisecond, time.Minute
				cfg.timing.redis = 2 * time.Second
			})
			alice, bob := r.join("Alice"), r.join("Bob")
			c.trouble(s, do)
			if w := r.rawDial(nodeQuery("Carol")); w.head.StatusCode != 503 {
				t.Errorf("a newcomer is answered %s", w.head.Status)
			}
			for i := range 3 {
				alice.write(payload(i, "SOCKET_MSG_EXCHANGE", `{"to":"Bob"}`))
				alice.want(fmt.Sprintf(`43%d["OK"]`, i))
				bob.want(`42["SOCKET_MSG_EXCHANGE","{\"to\":\"Bob\"}"]`)
				alice.write(payload(10+i, "SOCKET_MSG_EXCHANGE", `{"to":"Dave"}`)) // who may be at another Broker
				alice.want(fmt.Sprintf(`43%d["NOT_CONNECTED"]`, 10+i))
			}
			c.relief(s, do)
			eventually(t, "newcomers are welcome again", func() bool {
				w := r.rawDial(nodeQuery("Erin"))
				defer w.nc.Close()
				return w.head.StatusCode == 101
			})
			eventually(t, "the locks are there", func() bool { return client.Exists(context.Background(), "Alice", "Bob").Val() == 2 })
			if _, here := r.b.Node("Alice"); !here {
				t.Error("Alice was let go")
			}
		})
	}
}

package broker

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Whatever a query is, the values are text, and a plain one is read as net/url reads it.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"id=a+b%20c&id=%zz", "id=%e2%82", "EIO=4&transport=websocket&id=\xc3\xa9%41", "&&=&id"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q := parseQuery(raw)
		for _, values := range [][]string{q.id, q.data, q.sid, q.eio} {
			for _, v := range values {
				if !utf8.ValidString(v) {
					t.Fatalf("%q is no text", v)
				}
			}
		}
		plain, err := url.ParseQuery(raw)
		if err != nil || strings.ContainsAny(raw, "#") || strings.Count(raw, "&") >= maxParameters {
			return
		}
		for i := range len(raw) {
			if raw[i] >= utf8.RuneSelf {
				return
			}
		}
		for i, v := range plain["id"] {
			if utf8.ValidString(v) && q.id[i] != v {
				t.Fatalf("%q, net/url says %q", q.id[i], v)
			}
		}
	})
}

// What is taken as a payload is one for encoding/json too.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{`{"to":"Bob","from":"Alice"}`, `{"to":" \ufeffBob","to":"x"}`, `{"ids":["a"," b"]}`, `{"candidate":{"sdp":"x typ srflx y"},"to":"B"}`, `[]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		arg := quote([]byte(text))
		var m message
		var buf, again []byte
		if m.read(arg, &buf, true) {
			var all map[string]any
			if err := json.Unmarshal([]byte(text), &all); err != nil {
				if strings.Count(text, "[")+strings.Count(text, "{") < 10_000 {
					t.Fatalf("%q: %v", text, err)
				}
				return
			}
			if to, ok := all["to"].(string); !ok || !strings.Contains(to, m.to) || m.to == "" {
				t.Fatalf("to is %q, encoding/json says %v", m.to, all["to"])
			}
			m.forged("Alice")
		}
		if ids, ok := readIDs(arg, &again); ok {
			for _, id := range ids {
				if id == "" {
					t.Fatal("an empty id")
				}
			}
		}
	})
}

// Whatever bytes come after the handshake, that connection answers or ends, and the Broker serves the next.
func FuzzConnection(f *testing.F) {
	frame := func(fr ws.Frame) []byte {
		b, _ := ws.CompileFrame(ws.MaskFrameInPlaceWith(fr, [4]byte{1, 2, 3, 4}))
		return b
	}
	text := func(s string) []byte { return frame(ws.NewTextFrame([]byte(s))) }
	f.Add(append(text("40"), text(payload(1, "CONNECTION_ATTEMPT", `{"to":"Bob"}`))...))
	f.Add(append(text("40"), text(`451-["A",{}]`)...))
	f.Add(append(frame(ws.NewFrame(ws.OpText, false, []byte("4"))), frame(ws.NewFrame(ws.OpContinuation, true, []byte("0")))...))
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(frame(ws.NewCloseFrame([]byte{3})))
	r := start(f, func(c *Config) {
		c.Settings.Limits.MessagesPerSecond = 1_000_000
		c.timing.linger = 50 * time.Millisecond
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		one := rawDial(t, r.b.Addr().String(), nodeQuery("fuzz"))
		if one.head.StatusCode != 101 {
			return // the last one's id is not free yet
		}
		_, _ = one.nc.Write(b)
		_ = one.nc.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, one.in)
		one.nc.Close()
		for deadline := time.Now().Add(10 * time.Second); len(r.b.claims()) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the connection does not end")
			}
		}
		if context.Cause(r.b.ctx) != nil {
			t.Fatal("the Broker has ended")
		}
	})
}

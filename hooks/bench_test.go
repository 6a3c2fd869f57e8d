package hooks

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkAnswer is each webhook without network and net/http.
func BenchmarkAnswer(b *testing.B) {
	decider, err := NewDecider(DeciderConfig{ICE: ice{}})
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Config{Listen: "127.0.0.1:0", Decider: decider})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	many := func(n int) string {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, `,"node-%08d-abcdefghijkl"`, i)
		}
		return `{"connectedNodesIds":[` + text.String()[1:] + `]}`
	}
	for _, c := range []struct{ name, path, body string }{
		{"authenticate", PathAuthenticate, `{"id":"Alice","data":"{\"token\":\"0123456789\"}"}`},
		{"resolve", PathResolve, `{"nodeId":"Alice"}`},
		{"authorize", PathAuthorize, `{"from":"Alice","to":"Bob"}`},
		{"validity of 20", PathValidity, many(20)},
		{"validity of 100000", PathValidity, many(100_000)},
		{"message", PathMessage, goodMessage},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := bytes.NewReader([]byte(c.body))
			r, err := http.NewRequest(http.MethodPost, c.path, nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength, r.Body = int64(len(c.body)), io.NopCloser(body)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				body.Reset([]byte(c.body))
				s.ServeHTTP(w, r)
			}
		})
	}
}

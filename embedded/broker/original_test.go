package broker

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// script is what a Node sends, and what it and a second Node, Bob, are sent.
type script struct {
	Name        string
	Query       string   `json:",omitempty"` // empty: that of Alice, and she joins first
	Send        []string // "binary:…" is a binary message, "ping:…" and "close:…" are frames
	Alice, Bob  []string // answers of the original
	Better      []string `json:",omitempty"` // ours to Alice, where it is another by intent
	BetterAtBob []string // to Bob, null where it is the same
	Why         string   `json:",omitempty"`
}

const wireGolden = "testdata/wire.golden.json"

var socketID = regexp.MustCompile(`"sid":"[A-Za-z0-9_-]{20}"`)

// The original Broker has answered the scripts of the golden file (crolang-p2p-broker f27ba12 with socket.io 4.8; to record
// anew: BROKER_ORIGINAL=host:port go test -run TestAsTheOriginal ./embedded/broker). Ours answers the same, but where the
// file says why not.
func TestAsTheOriginal(t *testing.T) {
	text, err := os.ReadFile(wireGolden)
	if err != nil {
		t.Fatal(err)
	}
	var scripts []script
	if err := json.Unmarshal(text, &scripts); err != nil {
		t.Fatal(err)
	}
	original := os.Getenv("BROKER_ORIGINAL")
	for i := range scripts {
		s := &scripts[i]
		if original != "" {
			s.Alice, s.Bob = play(t, original, s, 60*time.Millisecond)
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			r := start(t, func(c *Config) { c.Settings.SameID = Refuse }) // nobody answers pings meanwhile
			alice, bob := play(t, r.b.Addr().String(), s, 0)
			wantAlice, wantBob := s.Alice, s.Bob
			if s.Why != "" {
				wantAlice = s.Better
			}
			if s.BetterAtBob != nil {
				wantBob = s.BetterAtBob
			}
			if !reflect.DeepEqual(alice, wantAlice) {
				t.Errorf("Alice was sent\n%q, want\n%q", alice, wantAlice)
			}
			if !reflect.DeepEqual(bob, wantBob) {
				t.Errorf("Bob was sent\n%q, want\n%q", bob, wantBob)
			}
		})
	}
	if original == "" {
		return
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(scripts); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wireGolden, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// play sends what a script has, with pause between messages, since the original answers out of order.
func play(t *testing.T, addr string, s *script, pause time.Duration) (alice, bob []string) {
	t.Helper()
	query := s.Query
	if query == "" {
		query = nodeQuery("Alice")
	}
	b := joinAt(t, addr, "Bob")
	a := rawDial(t, addr, query)
	defer func() { // the original frees ids as connections end
		for _, w := range []*wire{a, b} {
			w.frame(ws.NewCloseFrame(nil))
			w.deadline()
			for w.readAny() != "end" {
			}
			w.nc.Close()
		}
		time.Sleep(pause)
	}()
	if a.head.StatusCode != 101 {
		return []string{fmt.Sprint("HTTP ", a.head.StatusCode)}, []string{}
	}
	a.read()
	if s.Query == "" {
		a.joined()
	}
	for _, m := range s.Send {
		kind, rest, _ := strings.Cut(m, ":")
		switch kind {
		case "binary":
			a.frame(ws.NewBinaryFrame([]byte(rest)))
		case "ping":
			a.frame(ws.NewPingFrame([]byte(rest)))
		default:
			a.write(m)
		}
		time.Sleep(pause)
	}
	return a.collect(), b.collect()
}

func joinAt(t *testing.T, addr, id string) *wire {
	t.Helper()
	w := rawDial(t, addr, nodeQuery(id))
	w.read()
	w.joined()
	return w
}

// collect reads up to the answer to a question that any Broker answers, or to the end.
func (w *wire) collect() []string {
	w.write("40/end,")
	all := []string{}
	for {
		m := w.read()
		if strings.HasPrefix(m, "44/end,") {
			return all
		}
		if m == "end" || strings.HasPrefix(m, "close") {
			return append(all, m)
		}
		m = socketID.ReplaceAllString(m, `"sid":"SID"`)
		if strings.HasPrefix(m, `42["AUTHENTICATED",`) {
			m = "AUTHENTICATED" // each has its own
		}
		if len(m) > 400 {
			m = fmt.Sprint(m[:100], " … ", len(m), " bytes")
		}
		all = append(all, m)
	}
}

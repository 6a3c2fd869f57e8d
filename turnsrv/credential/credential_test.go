package credential

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/secure/precis"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// The password and key were computed with OpenSSL and md5sum, so that this is not our code against itself:
// printf %s 1700000000:Alice | openssl dgst -sha1 -hmac the-secret -binary | base64
// printf %s 1700000000:Alice:crolang:PASSWORD | md5sum.
func TestIssueKnownValues(t *testing.T) {
	k, err := NewKeyring("the-secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Issue("Alice", 0, time.Unix(1700000000, 999))
	if err != nil {
		t.Fatal(err)
	}
	if c.Username != "1700000000:Alice" || c.Password != "XF6Q/wcHjIxaY9jWsJkXAvZBbT8=" {
		t.Errorf("issued %q with a password that other TURN servers would refuse", c.Username)
	}
	if key := Key(c.Username, "crolang", c.Password); hex(key[:]) != "3df8461b2cc22fb6b777d351a8059f69" {
		t.Errorf("long-term key = %s", hex(key[:]))
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, v := range b {
		s.WriteByte(digits[v>>4])
		s.WriteByte(digits[v&15])
	}
	return s.String()
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, username, node string
		expires              int64
		ok                   bool
	}{
		{"plain", "1700000000:Alice", "Alice", 1700000000, true},
		{"colons belong to the id", "1:a:b:c", "a:b:c", 1, true},
		{"zero", "0:x", "x", 0, true},
		{"empty", "", "", 0, false},
		{"no expiry", ":n", "", 0, false},
		{"no node", "1700000000:", "", 0, false},
		{"no colon", "1700000000", "", 0, false},
		{"negative", "-1:n", "", 0, false},
		{"signed", "+1:n", "", 0, false},
		{"exponent", "1e9:n", "", 0, false},
		{"overflow", "99999999999999999999:n", "", 0, false},
		{"hex", "0x10:n", "", 0, false},
		{"space", " 1:n", "", 0, false},
		{"NUL", "1:n\x00", "", 0, false},
		{"newline", "1:n\n", "", 0, false},
		{"600 bytes", "1:" + strings.Repeat("n", 598), "", 0, false},
		{"not UTF-8", "1:\xff", "", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Parse(c.username)
			if (err == nil) != c.ok {
				t.Fatalf("Parse = %v", err)
			}
			if c.ok && (n.Node != c.node || n.Expires.Unix() != c.expires) {
				t.Errorf("Parse = %q, %d", n.Node, n.Expires.Unix())
			}
			if err != nil && !errors.Is(err, ErrUsername) {
				t.Errorf("error %v is not ErrUsername", err)
			}
		})
	}
}

func TestMatchTriesEverySecretAndKeepsTheFirst(t *testing.T) {
	old, _ := NewKeyring("old-secret", nil)
	c, err := old.Issue("n", time.Hour, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	want := Key(c.Username, "r", c.Password)
	k, err := NewKeyring("new-secret", []string{"old-secret", "older-secret"})
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	key, ok := k.Match(c.Username, "r", MD5, func(b []byte) bool { tried++; return string(b) == string(want[:]) })
	if !ok || string(key) != string(want[:]) || tried != k.Len() {
		t.Errorf("ok %v after %d of %d secrets", ok, tried, k.Len())
	}
	next, err := k.Prepare("third-secret", nil)
	next.Apply()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Match(c.Username, "r", MD5, func(b []byte) bool { return string(b) == string(want[:]) }); ok {
		t.Error("a secret that was taken away is still accepted")
	}
}

// TestPreparedUsername has a client prepare the username that a Node was given, as RFC 8489 §14.3 wants, and come in
// with it.
func TestPreparedUsername(t *testing.T) {
	k, _ := NewKeyring("s", nil)
	for _, id := range []string{"Zoe\u0308", "a\u00a0b", "\u1112\u1161\u11ab", "Alice"} {
		c, err := k.Issue(id, time.Hour, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		prepared, err := precis.OpaqueString.String(c.Username)
		if err != nil || prepared != c.Username {
			t.Errorf("%q: the client makes %q of %q: %v", id, prepared, c.Username, err)
		}
		sent := Key(prepared, "r", c.Password)
		if _, ok := k.Match(prepared, "r", MD5, func(b []byte) bool { return string(b) == string(sent[:]) }); !ok {
			t.Errorf("%q is refused", id)
		}
		if n, err := Parse(prepared); err != nil || n.Node != nodeid.Canonical(id) || c.Node != n.Node {
			t.Errorf("%q: %+v of %q: %v", id, n, c.Node, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	if _, err := NewKeyring("", nil); !errors.Is(err, ErrNoSecret) {
		t.Errorf("an empty secret: %v", err)
	}
	k, _ := NewKeyring("s", nil)
	if _, err := k.Issue("a\nb", time.Hour, time.Now()); err == nil {
		t.Error("a Node id with a newline got a credential")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1700000000:Alice", ":", "1e9:n", "-1:n", "1:\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		_, id, _ := strings.Cut(s, ":")
		if nodeid.Canonical(id) != n.Node || nodeid.Valid(n.Node) != nil || n.Expires.Unix() < 0 {
			t.Errorf("Parse(%q) = %q, %d", s, n.Node, n.Expires.Unix())
		}
	})
}

package policy

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
)

func argonLine(node, token string, memory uint32) string {
	salt := []byte("0123456789abcdef")
	hash := argon2.IDKey([]byte(token), salt, 1, memory, 1, 32)
	return fmt.Sprintf("%s argon2id:$argon2id$v=19$m=%d,t=1,p=1$%s$%s", node, memory, base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(hash))
}

func newToken(t *testing.T, node string) (token, line string) {
	t.Helper()
	token, line, err := NewTokenLine(node)
	if err != nil {
		t.Fatal(err)
	}
	return token, line
}

func TestTokens(t *testing.T) {
	alice, aliceLine := newToken(t, "Alice")
	second, secondLine := newToken(t, "Alice")
	odd, oddLine := newToken(t, ` we*rd {a,b} [x] 🦊\ `)
	shared, sharedLine := newToken(t, "x")
	sharedLine = "cam-*" + strings.TrimPrefix(sharedLine, "x")
	p := run(t, Config{Authenticate: Authenticate{Mode: ModeTokens, Tokens: []string{aliceLine, secondLine, oddLine, sharedLine,
		argonLine("door-?", "correct horse", 64), argonLine("door-1", "battery staple", 64)}}})
	for _, c := range []struct {
		node, token, cause string
	}{
		{"Alice", alice, ""},
		{"Alice", second, ""},
		{"alice", alice, causeTokenUnknown},
		{"Bob", alice, causeTokenUnknown},
		{"Alice", alice + "x", causeTokenUnknown},
		{"Alice", strings.ToUpper(alice), causeTokenUnknown},
		{"Alice", "", causeNoToken},
		{` we*rd {a,b} [x] 🦊\ `, odd, ""},
		{" weird a [x] 🦊 ", odd, causeTokenUnknown},
		{"cam-7", shared, ""},
		{"cam", shared, causeTokenUnknown},
		{"door-1", "correct horse", ""},
		{"door-1", "correct horse", ""}, // from the cache
		{"door-1", "battery staple", ""},
		{"door-2", "correct horse", ""},
		{"door-2", "battery staple", causeTokenUnknown},
		{"window", "correct horse", causeTokenUnknown},
	} {
		if ok, cause := admit(t, p, c.node, c.token); ok != (c.cause == "") || cause != c.cause {
			t.Errorf("%q with %.12q…: %v %q, want %q", c.node, c.token, ok, cause, c.cause)
		}
	}
	if ok, cause := authenticate(t, p, "Alice", nil, nil); ok || cause != causeNoToken {
		t.Errorf("without data: %v %q", ok, cause)
	}
}

func TestNewTokenLine(t *testing.T) {
	if _, _, err := NewTokenLine("a\nb"); err == nil {
		t.Error("a control character was taken")
	}
	token, line := newToken(t, "Alice")
	if len(token) != 43 || strings.ContainsAny(token, "+/=%") || strings.Contains(line, token) || !strings.HasPrefix(line, "Alice sha256:") {
		t.Errorf("%d %s", len(token), line)
	}
}

func TestTokenLineErrors(t *testing.T) {
	const key = "hooks.authenticate.tokens"
	good := argonLine("a", "x", 64)
	for line, part := range map[string]string{
		"":                                  "must be",
		"Alice":                             "must be",
		"Alice secret":                      "must be",
		"Alice md5:0123":                    "must be",
		"sha256:" + strings.Repeat("0", 64): "must be",
		"Alice sha256:0123":                 "64 hexadecimal digits",
		"Alice sha256:" + strings.Repeat("x", 64): "64 hexadecimal digits",
		"[ sha256:" + strings.Repeat("0", 64):     "closed",
		"Alice argon2id:":                         "PHC",
		"Alice argon2id:$argon2i$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg": "PHC",
		strings.Replace(good, "m=64", "m=9999999", 1):                                             "at most 262144",
		strings.Replace(good, "t=1", "t=0", 1):                                                    "parameters",
		strings.Replace(good, "t=1", "t=99", 1):                                                   "parameters",
		strings.Replace(good, "p=1", "p=99", 1):                                                   "parameters",
		strings.Replace(good, "m=64", "m=+64", 1):                                                 "PHC",
		strings.Replace(good, "m=64", "m=064", 1):                                                 "PHC",
		strings.Replace(good, "v=19", "v=16", 1):                                                  "PHC",
		good + "!":                                                                                "PHC",
	} {
		err := Check(Config{Authenticate: Authenticate{Tokens: []string{"ok sha256:" + strings.Repeat("0", 64), line}}})
		wantMistake(t, err, key, part)
		if err != nil && !strings.Contains(err.Error(), "entry 2: ") {
			t.Errorf("%q: %v", line, err)
		}
		if len(line) > 20 && strings.Contains(err.Error(), line[6:20]) {
			t.Errorf("the error shows the line: %v", err)
		}
	}
	wantMistake(t, Check(Config{Authenticate: Authenticate{Mode: ModeTokens}}), key, "empty")
	if err := Check(Config{Authenticate: Authenticate{Tokens: []string{strings.Replace(good, "argon2id:", "", 1)}}}); err != nil {
		t.Errorf("a bare PHC string: %v", err)
	}
	costly := []string{argonLine("*", "a", 64), argonLine("a*", "b", 64), argonLine("Alice", "c", 64), argonLine("Alice", "d", 64), argonLine("Alice", "e", 64)}
	wantMistake(t, Check(Config{Authenticate: Authenticate{Tokens: costly}}), key, "more than 4 argon2id lines")
	if err := Check(Config{Authenticate: Authenticate{Tokens: costly[:4]}}); err != nil {
		t.Error(err)
	}
}

package policy

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

// signAs makes a token with a header of its own.
func signAs(t *testing.T, key ed25519.PrivateKey, header map[string]any) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(header) + "." + part(map[string]any{"sub": "Alice"})
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

// TestTokensOfOtherIssuers is of what issuers do that the first ones did not.
func TestTokensOfOtherIssuers(t *testing.T) {
	k, other := newKeyring(t), newEd(t)
	padded := jwk(t, "padded", k.ec.Public(), nil)
	for _, part := range []string{"x", "y"} {
		padded[part] = padded[part].(string) + strings.Repeat("=", (4-len(padded[part].(string))%4)%4) + "="
	}
	paddedEd := jwk(t, "padded ed", newEd(t).Public(), nil)
	paddedEd["x"] = paddedEd["x"].(string) + "="
	log := &logtest.Buffer{}
	set := append([]byte("\ufeff"), jwks1(t,
		jwk(t, "one", k.ed.Public(), map[string]any{"alg": "Ed25519"}), jwk(t, "two", other.Public(), nil), jwk(t, "two", k.rsa.Public(), nil),
		jwk(t, "two", newKeyring(t).rsa.Public(), nil), padded, paddedEd, jwk(t, "enc", k.rsa.Public(), map[string]any{"use": "enc"}))...)
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, set, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Logger: logTo(log), Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{JWKSFile: path}}}
	p := run(t, cfg)
	claims := jwt.MapClaims{"sub": "Alice"}
	for _, c := range []struct{ name, token, cause string }{
		{"new name, named key", signAs(t, k.ed, map[string]any{"alg": "Ed25519", "kid": "one"}), ""},
		{"new name for a key without one", signAs(t, other, map[string]any{"alg": "Ed25519", "kid": "two"}), ""},
		{"former name for a key of the new one", signAs(t, k.ed, map[string]any{"alg": "EdDSA", "kid": "one"}), ""},
		{"no key id, the first that fits", signAs(t, k.ed, map[string]any{"alg": "EdDSA"}), ""},
		{"no key id, another that fits", signAs(t, other, map[string]any{"alg": "EdDSA"}), ""},
		{"an id that several keys have", sign(t, jwt.SigningMethodRS256, k.rsa, "two", claims), ""},
		{"no key id, none that fits", signAs(t, newEd(t), map[string]any{"alg": "EdDSA"}), causeJWTSignature},
		{"a key with padded numbers", sign(t, jwt.SigningMethodES384, k.ec, "padded", claims), ""},
		{"critical", signAs(t, k.ed, map[string]any{"alg": "EdDSA", "kid": "one", "crit": []string{"exp"}, "exp": 1}), causeJWTCritical},
		{"critical, empty", signAs(t, k.ed, map[string]any{"alg": "EdDSA", "kid": "one", "crit": nil}), causeJWTCritical},
		{"Ed448", signAs(t, k.ed, map[string]any{"alg": "Ed448", "kid": "one"}), causeJWTAlgorithm},
	} {
		if ok, cause := admit(t, p, "Alice", c.token); ok != (c.cause == "") || cause != c.cause {
			t.Errorf("%s: %v %q, want %q", c.name, ok, cause, c.cause)
		}
	}
	waitFor(t, func() bool { return strings.Contains(log.String(), "passed over") })
	for range 3 {
		if err := replace(p, cfg); err != nil {
			t.Fatal(err)
		}
	}
	if ok, cause := admit(t, p, "Alice", signAs(t, k.ed, map[string]any{"alg": "EdDSA", "kid": "one"})); !ok {
		t.Error(cause)
	}
	if text := log.String(); strings.Count(text, "passed over") != 1 || !strings.Contains(text, "kid=enc") || !strings.Contains(text, "its use is not sig") {
		t.Errorf("log: %s", text)
	}
}

// TestNewKeyWithoutAName has an issuer that names no keys change its own.
func TestNewKeyWithoutAName(t *testing.T) {
	first, second := newEd(t), newEd(t)
	server := newKeyServer(t)
	server.serve(jwks1(t, jwk(t, "", first.Public(), nil)))
	now := newClock()
	p := run(t, Config{Now: now.Now, Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{JWKSURL: server.URL}}})
	token := func(key ed25519.PrivateKey) string { return signAs(t, key, map[string]any{"alg": "EdDSA"}) }
	if ok, cause := admit(t, p, "Alice", token(first)); !ok {
		t.Error(cause)
	}
	server.serve(jwks1(t, jwk(t, "", second.Public(), nil)))
	now.add(jwksMinBetween)
	if ok, cause := admit(t, p, "Alice", token(second)); !ok {
		t.Error(cause)
	}
	for range 5 {
		if ok, cause := admit(t, p, "Alice", token(first)); ok || cause != causeJWTSignature {
			t.Errorf("%v %q", ok, cause)
		}
	}
	if n := server.count(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// TestKeysBehindRedirects follows those of the issuer's own host alone.
func TestKeysBehindRedirects(t *testing.T) {
	key := newEd(t)
	set := jwks1(t, jwk(t, "1", key.Public(), nil))
	token := signAs(t, key, map[string]any{"alg": "EdDSA", "kid": "1"})
	elsewhere := newKeyServer(t)
	elsewhere.serve(set)
	for name, c := range map[string]struct {
		to    string
		cause string
	}{"own host": {"/moved", ""}, "another": {elsewhere.URL, causeJWTKeys}, "without end": {"/", causeJWTKeys}} {
		t.Run(name, func(t *testing.T) {
			server := newKeyServer(t)
			server.set(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/moved" {
					_, _ = w.Write(set)
					return
				}
				http.Redirect(w, r, c.to, http.StatusFound)
			})
			log := &logtest.Buffer{}
			p := run(t, Config{Logger: logTo(log), Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{JWKSURL: server.URL}}})
			if ok, cause := admit(t, p, "Alice", token); ok != (c.cause == "") || cause != c.cause {
				t.Errorf("%v %q, want %q", ok, cause, c.cause)
			}
			if name == "another" { // it is logged after it is answered
				waitFor(t, func() bool { return strings.Contains(log.String(), errRedirect.Error()) })
			}
		})
	}
	if n := elsewhere.count(); n > 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

const jwtSecret = "a secret of at least thirty-two bytes"

// sign makes a token. kid may be empty.
func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// keyring is a private key of each kind.
type keyring struct {
	rsa, small *rsa.PrivateKey
	ec         *ecdsa.PrivateKey
	ed         ed25519.PrivateKey
}

func newKeyring(t *testing.T) keyring {
	t.Helper()
	var k keyring
	var errs [4]error
	k.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.small, errs[1] = rsa.GenerateKey(rand.Reader, 1024)
	k.ec, errs[2] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, k.ed, errs[3] = ed25519.GenerateKey(rand.Reader)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func publicPEM(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "PUBLIC KEY", der)
}

func TestJWTSecret(t *testing.T) {
	now := newClock()
	p := run(t, Config{Now: now.Now, Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{
		Secret: jwtSecret, Audience: "broker", Issuer: "me", Leeway: 30 * time.Second,
	}}})
	at := func(d time.Duration) int64 { return now.Now().Add(d).Unix() }
	good := func(change func(jwt.MapClaims)) jwt.MapClaims {
		claims := jwt.MapClaims{"sub": "Alice", "aud": "broker", "iss": "me", "exp": at(time.Hour)}
		if change != nil {
			change(claims)
		}
		return claims
	}
	hs256 := func(change func(jwt.MapClaims)) string {
		return sign(t, jwt.SigningMethodHS256, []byte(jwtSecret), "any", good(change))
	}
	whole := hs256(nil)
	for _, c := range []struct{ name, token, cause string }{
		{"good", whole, ""},
		{"no exp", hs256(func(c jwt.MapClaims) { delete(c, "exp") }), ""},
		{"one of many audiences", hs256(func(c jwt.MapClaims) { c["aud"] = []string{"x", "broker"} }), ""},
		{"expired within leeway", hs256(func(c jwt.MapClaims) { c["exp"] = at(-29 * time.Second) }), ""},
		{"expired", hs256(func(c jwt.MapClaims) { c["exp"] = at(-72 * time.Second) }), "token expired 1m12s ago"},
		{"not yet", hs256(func(c jwt.MapClaims) { c["nbf"] = at(time.Minute) }), "token is valid only in 1m0s"},
		{"other Node", hs256(func(c jwt.MapClaims) { c["sub"] = "Bob" }), causeJWTNode},
		{"no sub", hs256(func(c jwt.MapClaims) { delete(c, "sub") }), causeJWTClaim},
		{"sub is a number", hs256(func(c jwt.MapClaims) { c["sub"] = 7 }), causeJWTClaim},
		{"other audience", hs256(func(c jwt.MapClaims) { c["aud"] = "x" }), causeJWTAudience},
		{"no audience", hs256(func(c jwt.MapClaims) { delete(c, "aud") }), causeJWTAudience},
		{"other issuer", hs256(func(c jwt.MapClaims) { c["iss"] = "x" }), causeJWTIssuer},
		{"exp is text", hs256(func(c jwt.MapClaims) { c["exp"] = "tomorrow" }), causeJWTClaims},
		{"other secret", sign(t, jwt.SigningMethodHS256, []byte("x"), "", good(nil)), causeJWTSignature},
		{"HS512", sign(t, jwt.SigningMethodHS512, []byte(jwtSecret), "", good(nil)), causeJWTAlgorithm},
		{"none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", good(nil)), causeJWTAlgorithm},
		{"unknown algorithm", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"XX"}`)) + ".e30.", causeJWTAlgorithm},
		{"no algorithm", base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + ".e30.", causeJWTAlgorithm},
		{"no signature", whole[:strings.LastIndex(whole, ".")+1], causeJWTSignature},
		{"two parts", "a.b", causeJWTMalformed},
		{"four parts", "a.b.c.d", causeJWTMalformed},
		{"no JSON", "bm8.bm8.bm8", causeJWTMalformed},
		{"no base64", "!.!.!", causeJWTMalformed},
		{"1 MB", strings.Repeat("x", 1<<20), causeLongToken},
		{"many dots", strings.Repeat(".", 10_000), causeJWTMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ok, cause := admit(t, p, "Alice", c.token); ok != (c.cause == "") || cause != c.cause {
				t.Errorf("%v %q, want %q", ok, cause, c.cause)
			}
		})
	}
}

func TestJWTExpiryShowsAtTheValidityCheck(t *testing.T) {
	now := newClock()
	cfg := Config{Now: now.Now, Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{Secret: jwtSecret, Claim: "node", Leeway: 10 * time.Second}}}
	p := run(t, cfg)
	enter := func(node string, lasting time.Duration) {
		t.Helper()
		claims := jwt.MapClaims{"node": node}
		if lasting > 0 {
			claims["exp"] = now.Now().Add(lasting).Unix()
		}
		if ok, cause := admit(t, p, node, sign(t, jwt.SigningMethodHS256, []byte(jwtSecret), "", claims)); !ok {
			t.Fatal(cause)
		}
	}
	enter("Alice", time.Minute)
	enter("Bob", time.Hour)
	enter("Carol", 0)
	if got := invalid(t, p, "Alice", "Bob", "Carol", "stranger"); len(got) > 0 {
		t.Errorf("too early: %v", got)
	}
	now.add(75 * time.Second)
	if got := invalid(t, p, "Alice", "Bob", "Carol"); len(got) != 1 || got["Alice"] != "token expired 5s ago" {
		t.Errorf("%v", got)
	}
	if err := replace(p, cfg); err != nil { // a reload forgets nothing
		t.Fatal(err)
	}
	if got := invalid(t, p, "Alice"); len(got) != 1 || p.Stats().TokensRemembered != 2 {
		t.Errorf("%v", got)
	}
	enter("Alice", 0)
	if got := invalid(t, p, "Alice"); len(got) > 0 {
		t.Errorf("in again, without an end: %v", got)
	}
	now.add(2 * time.Hour)
	if err := replace(p, Config{}); err != nil {
		t.Fatal(err)
	}
	if got := invalid(t, p, "Bob"); len(got) > 0 || p.Stats().TokensRemembered != 0 {
		t.Errorf("mode allow: %v", got)
	}
}

func TestJWTPublicKeyFile(t *testing.T) {
	k := newKeyring(t)
	for _, c := range []struct {
		name   string
		public crypto.PublicKey
		key    any
		method jwt.SigningMethod
		wrong  jwt.SigningMethod
	}{
		{"RSA", k.rsa.Public(), k.rsa, jwt.SigningMethodRS256, nil},
		{"RSA PSS", k.rsa.Public(), k.rsa, jwt.SigningMethodPS384, nil},
		{"ECDSA", k.ec.Public(), k.ec, jwt.SigningMethodES384, nil},
		{"Ed25519", k.ed.Public(), k.ed, jwt.SigningMethodEdDSA, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := publicPEM(t, c.public)
			p := run(t, Config{Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{PublicKeyFile: path}}})
			claims := jwt.MapClaims{"sub": "Alice"}
			if ok, cause := admit(t, p, "Alice", sign(t, c.method, c.key, "some", claims)); !ok {
				t.Error(cause)
			}
			// The public key is public: it must not pass for an HMAC secret.
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range [][]byte{text, []byte(strings.TrimSpace(string(text))), pemBytes(text)} {
				if ok, cause := admit(t, p, "Alice", sign(t, jwt.SigningMethodHS256, secret, "", claims)); ok || cause != causeJWTAlgorithm {
					t.Errorf("HS256 with the public key: %v %q", ok, cause)
				}
			}
			if ok, cause := admit(t, p, "Alice", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", claims)); ok || cause != causeJWTAlgorithm {
				t.Errorf("none: %v %q", ok, cause)
			}
		})
	}
}

func pemBytes(text []byte) []byte {
	block, _ := pem.Decode(text)
	return block.Bytes
}

func TestJWTConfigErrors(t *testing.T) {
	k := newKeyring(t)
	private, err := x509.MarshalPKCS8PrivateKey(k.ec)
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	const table = "hooks.authenticate.jwt"
	for name, c := range map[string]struct {
		cfg       JWT
		key, part string
	}{
		"none":         {JWT{}, table, "one of secret"},
		"two":          {JWT{Secret: jwtSecret, JWKSURL: "https://x.example"}, table + ".jwks_url", "only one"},
		"no file":      {JWT{PublicKeyFile: "/nonexistent/key.pem"}, table + ".public_key_file", "/nonexistent/key.pem"},
		"no PEM":       {JWT{PublicKeyFile: text}, table + ".public_key_file", "no public key in PEM"},
		"private":      {JWT{PublicKeyFile: writePEM(t, "PRIVATE KEY", private)}, table + ".public_key_file", "private key"},
		"garbage":      {JWT{PublicKeyFile: writePEM(t, "PUBLIC KEY", []byte("x"))}, table + ".public_key_file", "cannot be read"},
		"small RSA":    {JWT{PublicKeyFile: publicPEM(t, k.small.Public())}, table + ".public_key_file", "2048"},
		"no JWKS":      {JWT{JWKSFile: text}, table + ".jwks_file", "no JSON Web Key Set"},
		"no JWKS file": {JWT{JWKSFile: "/nonexistent"}, table + ".jwks_file", "/nonexistent"},
		"URL":          {JWT{JWKSURL: "file:///etc/passwd"}, table + ".jwks_url", "no http"},
		"refresh":      {JWT{Secret: jwtSecret, JWKSRefresh: time.Millisecond}, table + ".jwks_refresh", "shorter"},
	} {
		t.Run(name, func(t *testing.T) {
			wantMistake(t, Check(Config{Authenticate: Authenticate{Mode: ModeJWT, JWT: c.cfg}}), c.key, c.part)
		})
	}
	log := &logtest.Buffer{}
	run(t, Config{Logger: logTo(log), Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{Secret: "short"}}})
	if !strings.Contains(log.String(), "shorter than 32 bytes") || strings.Contains(log.String(), "=short") {
		t.Errorf("log: %s", log)
	}
}

// jwk writes a public key as a JSON Web Key.
func jwk(t *testing.T, kid string, key crypto.PublicKey, more map[string]any) map[string]any {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	k := map[string]any{"kid": kid}
	switch key := key.(type) {
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		k["kty"], k["crv"], k["x"], k["y"] = "EC", key.Curve.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", b64(key)
	}
	for name, value := range more {
		k[name] = value
	}
	return k
}

func jwks1(t *testing.T, keys ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys, "other": 1})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestKeySet(t *testing.T) {
	k := newKeyring(t)
	set, err := parseKeySet(jwks1(t,
		jwk(t, "rsa", k.rsa.Public(), map[string]any{"use": "sig", "alg": "RS256"}),
		jwk(t, "ec", k.ec.Public(), nil),
		jwk(t, "ed", k.ed.Public(), map[string]any{"key_ops": []string{"verify"}}),
		jwk(t, "enc", k.rsa.Public(), map[string]any{"use": "enc"}),
		jwk(t, "ops", k.rsa.Public(), map[string]any{"key_ops": []string{"encrypt"}}),
		jwk(t, "alg", k.rsa.Public(), map[string]any{"alg": "RSA-OAEP"}),
		jwk(t, "swapped", k.rsa.Public(), map[string]any{"alg": "HS256"}),
		jwk(t, "small", k.small.Public(), nil),
		jwk(t, "off the curve", k.ec.Public(), map[string]any{"x": "AQ"}),
		jwk(t, "even", k.rsa.Public(), map[string]any{"e": "Ag"}),
		map[string]any{"kty": "oct", "kid": "secret", "k": "AAAA"},
		map[string]any{"kty": "EC", "crv": "secp256k1", "x": "AQ", "y": "AQ"},
		map[string]any{"kty": 7},
	))
	if err != nil {
		t.Fatal(err)
	}
	if len(set.keys) != 3 || len(set.passedOver) != 10 {
		t.Errorf("%d keys, passed over: %q", len(set.keys), set.passedOver)
	}
	for _, c := range []struct {
		kid, algorithm string
		want           error
	}{
		{"rsa", "RS256", nil}, {"rsa", "RS512", errAlgorithm}, {"rsa", "HS256", errAlgorithm}, {"rsa", "none", errAlgorithm},
		{"ec", "ES384", nil}, {"ec", "ES256", errAlgorithm}, {"ed", "EdDSA", nil}, {"secret", "HS256", errUnknownKey}, {"enc", "RS256", errUnknownKey},
		{"", "RS256", nil}, {"", "EdDSA", nil}, {"", "HS256", errAlgorithm}, {"", "none", errAlgorithm}, {"new", "RS256", errUnknownKey},
	} {
		if key, err := set.find(c.kid, c.algorithm); err != c.want || (key == nil) != (err != nil) { //nolint:errorlint // sentinels, unwrapped
			t.Errorf("%s %s: %v", c.kid, c.algorithm, err)
		}
	}
	two, err := parseKeySet(jwks1(t, jwk(t, "a", k.rsa.Public(), nil), jwk(t, "b", k.rsa.Public(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, kid := range []string{"", "a"} {
		key, err := two.find(kid, "RS256")
		all, several := key.(jwt.VerificationKeySet)
		if err != nil || several != (kid == "") || several && len(all.Keys) != 2 {
			t.Errorf("key id %q: %v, %v", kid, key, err)
		}
	}
	for text, want := range map[string]error{`{"keys":[]}`: errKeyNone, `{}`: errKeySet, `[]`: errKeySet, `<html>`: errKeySet, ``: errKeySet} {
		if _, err := parseKeySet([]byte(text)); err != want { //nolint:errorlint // sentinels, unwrapped
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := parseKeySet([]byte(`{"keys":[` + strings.Repeat(`{},`, maxKeys) + `{}]}`)); err == nil {
		t.Error("too many keys are taken")
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"},{"kty":"RSA","n":"AQ","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if set, err := parseKeySet(text); err == nil && len(set.keys) == 0 {
			t.Error("an empty set")
		}
	})
}

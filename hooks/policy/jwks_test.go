package policy

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

// keyServer serves a key set that can be changed.
type keyServer struct {
	*httptest.Server
	mu      sync.Mutex
	answer  http.HandlerFunc
	fetches int
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.fetches++
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) serve(text []byte) {
	s.set(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

func (s *keyServer) set(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *keyServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func newEd(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestJWKSFromURL(t *testing.T) {
	first, second := newEd(t), newEd(t)
	token := func(key ed25519.PrivateKey, kid string) string {
		return sign(t, jwt.SigningMethodEdDSA, key, kid, jwt.MapClaims{"sub": "Alice"})
	}
	server := newKeyServer(t)
	server.serve(jwks1(t, jwk(t, "1", first.Public(), nil)))
	now := newClock()
	cfg := Config{Now: now.Now, Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{JWKSURL: server.URL}}}
	p := run(t, cfg)
	want := func(token, cause string) {
		t.Helper()
		if ok, got := admit(t, p, "Alice", token); ok != (cause == "") || got != cause {
			t.Errorf("%v %q, want %q", ok, got, cause)
		}
	}
	want(token(first, "1"), "") // waits for the first fetch
	want(token(second, "2"), causeJWTNoKey)
	if n := server.count(); n != 1 {
		t.Errorf("%d fetches: an unknown key id causes one too soon", n)
	}
	server.serve(jwks1(t, jwk(t, "1", first.Public(), nil), jwk(t, "2", second.Public(), nil)))
	now.add(jwksMinBetween)
	want(token(second, "2"), "") // fetched for it
	want(token(first, "2"), causeJWTSignature)
	for range 20 {
		want(token(second, "3"), causeJWTNoKey)
	}
	if n := server.count(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	// A reload keeps the keys, though the server now fails.
	server.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	if err := replace(p, cfg); err != nil {
		t.Fatal(err)
	}
	want(token(second, "2"), "")
}

func TestJWKSThatCannotBeHad(t *testing.T) {
	key := newEd(t)
	token := sign(t, jwt.SigningMethodEdDSA, key, "1", jwt.MapClaims{"sub": "Alice"})
	for name, answer := range map[string]http.HandlerFunc{
		"500":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"HTML":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"empty": func(http.ResponseWriter, *http.Request) {},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newKeyServer(t)
			server.set(answer)
			log := &logtest.Buffer{}
			p := run(t, Config{Logger: logTo(log), Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{JWKSURL: server.URL + "/?key=s3cret"}}})
			if ok, cause := admit(t, p, "Alice", token); ok || cause != causeJWTKeys {
				t.Errorf("%v %q", ok, cause)
			}
			server.serve(jwks1(t, jwk(t, "1", key.Public(), nil)))
			deadline := time.Now().Add(20 * time.Second) // the second try comes by itself
			for ok := false; !ok; ok, _ = admit(t, p, "Alice", token) {
				if time.Now().After(deadline) {
					t.Fatal("the keys were never fetched again")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if text := log.String(); strings.Contains(text, "s3cret") || !strings.Contains(text, "cannot be loaded") {
				t.Errorf("log: %s", text)
			}
		})
	}
}

func TestJWKSFile(t *testing.T) {
	first, second := newEd(t), newEd(t)
	path := filepath.Join(t.TempDir(), "jwks.json")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(jwks1(t, jwk(t, "1", first.Public(), nil)))
	cfg := Config{Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{JWKSFile: path}}}
	p := run(t, cfg)
	token := func(key ed25519.PrivateKey, kid string) string {
		return sign(t, jwt.SigningMethodEdDSA, key, kid, jwt.MapClaims{"sub": "Alice"})
	}
	if ok, cause := admit(t, p, "Alice", token(first, "1")); !ok {
		t.Error(cause)
	}
	write([]byte(`{`))
	if err := replace(p, cfg); err == nil {
		t.Error("a broken file was taken")
	}
	if ok, cause := admit(t, p, "Alice", token(first, "1")); !ok {
		t.Errorf("after a refused reload: %s", cause)
	}
	write(jwks1(t, jwk(t, "2", second.Public(), nil)))
	if err := replace(p, cfg); err != nil {
		t.Fatal(err)
	}
	if ok, cause := admit(t, p, "Alice", token(second, "2")); !ok {
		t.Error(cause)
	}
	if ok, cause := admit(t, p, "Alice", token(first, "1")); ok || cause != causeJWTNoKey {
		t.Errorf("%v %q", ok, cause)
	}
}

func TestBackoff(t *testing.T) {
	for failures, most := range map[int]time.Duration{1: time.Second, 3: 4 * time.Second, 9: 10 * time.Second, 1000: 10 * time.Second} {
		for range 100 {
			if wait := backoff(failures, 10*time.Second); wait < most/2 || wait > most {
				t.Errorf("%d failures: %v", failures, wait)
			}
		}
	}
}

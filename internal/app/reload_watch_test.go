package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
)

// Whatever the configuration is read from is watched by what it holds: a secret's file that Kubernetes turns by a link, and
// a key of the same size and time.
func TestFilesOfTheConfigurationAreWatched(t *testing.T) {
	dir := t.TempDir()
	at := func(name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
	put := func(path string, text []byte) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	key := func() (*ecdsa.PrivateKey, []byte) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		return k, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	token := func(k *ecdsa.PrivateKey) string {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "n", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(k)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	const first, second = "one-0123456789abcdef0123456789abcdef", "two-0123456789abcdef0123456789abcdef"
	put(at("1", "token"), []byte(first+"\n"))
	put(at("2", "token"), []byte(second+"\n"))
	if err := errors.Join(os.Symlink("1", at("..data")), os.Symlink(filepath.Join("..data", "token"), at("token"))); err != nil {
		t.Fatal(err)
	}
	was, pem1 := key()
	is, pem2 := key()
	put(at("key.pem"), pem1)
	file := at("c.toml")
	put(file, []byte("drain_timeout = '0s'\n[public]\nipv4 = '127.0.0.1'\nipv6 = 'off'\n[turn]\nlisten = ['127.0.0.1:0']\nlisten_tls = []\n"+
		"relay_ports = '26000-26099'\n[admin]\nlisten = '127.0.0.1:0'\n[hooks]\nlisten = '127.0.0.1:0'\n"+
		"[hooks.authenticate]\nmode = 'jwt'\n[hooks.authenticate.jwt]\npublic_key_file = 'key.pem'\n"))
	s := &site{t: t}
	r, cfg, err := NewReloader(file, nil, func(opts ...config.Option) (*config.Config, error) {
		return Load(file, append(opts, config.WithEnviron([]string{"CROLANG_AIO_HOOKS_TOKEN_FILE=" + at("token")}))...)
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := logging.New(&s.log, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		t.Fatal(err)
	}
	if s.App, err = New(cfg, log, Pace{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.App.Run(ctx, r.For(s.App)) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	allowed := func(bearer string, k *ecdsa.PrivateKey) bool {
		status, body := s.post("/authenticate-node", `{"id":"n","data":{"token":"`+token(k)+`"}}`, bearer)
		return status == http.StatusOK && strings.Contains(body, "true")
	}
	if !allowed(first, was) || allowed(first, is) || allowed(second, was) {
		t.Fatal("not even at the start")
	}
	if err := errors.Join(os.Symlink("2", at("tmp")), os.Rename(at("tmp"), at("..data"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other token holds", func() bool { return allowed(second, was) && !allowed(first, was) })
	st, err := os.Stat(at("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	put(at("key.pem"), pem2)
	if err := os.Chtimes(at("key.pem"), st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other key holds", func() bool { return allowed(second, is) && !allowed(second, was) })
	// What was being written counts when it has been written.
	put(at("2", "token"), nil)
	eventually(t, "the empty file is refused", func() bool { return strings.Contains(s.log.String(), "the file is empty: it must hold the secret") })
	if !allowed(second, is) {
		t.Error("the old token does not hold")
	}
	put(at("2", "token"), []byte(first))
	eventually(t, "the first token holds again", func() bool { return allowed(first, is) })
}

//go:build linux

package deploy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
)

// lineage writes a pair as certbot keeps it.
func lineage(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"turn.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"fullchain.pem": {Type: "CERTIFICATE", Bytes: der}, "privkey.pem": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The hook brings a renewed certificate into use, without a signal, and leaves others alone.
func TestCertbotHook(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the hook gives files to others: it needs root, as certbot does")
	}
	live := filepath.Join(t.TempDir(), "live", "turn.example.org")
	if err := os.MkdirAll(live, 0o700); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	if err := os.Chown(state, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(state, "tls")
	hook := func(env ...string) {
		t.Helper()
		cmd := exec.Command("./certbot-deploy-hook.sh")
		cmd.Env = append(os.Environ(), append([]string{"RENEWED_LINEAGE=" + live, "STATE=" + state}, env...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	lineage(t, live, 1)
	hook()
	keeper, err := certs.New(certs.Config{
		CertFile: filepath.Join(to, "fullchain.pem"), KeyFile: filepath.Join(to, "privkey.pem"), Poll: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	serial := func() int64 {
		t.Helper()
		c, err := keeper.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.Int64()
	}
	lineage(t, live, 2)
	hook("NAME=another.example.org")
	if st, err := os.Stat(filepath.Join(to, "fullchain.pem.new")); err == nil {
		t.Errorf("another certificate's renewal left %s", st.Name())
	}
	hook("NAME=turn.example.org")
	for end := time.Now().Add(10 * time.Second); serial() != 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the renewed certificate is not in use")
		}
	}
	st, err := os.Stat(filepath.Join(to, "privkey.pem"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the key's mode: %v %v", st, err)
	}
	if owner, ok := st.Sys().(*syscall.Stat_t); !ok || owner.Uid != 12345 || owner.Gid != 23456 {
		t.Errorf("the key belongs to %+v, not to whom the folder belongs to", st.Sys())
	}
}

package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// Coturn is the peer: as packaged, with its defaults but for what the comparison needs. Its log goes nowhere, because
// ours says nothing of single allocations either.
type Coturn struct{ Path string }

const coturnConfig = `listening-ip=%[1]s
relay-ip=%[1]s
listening-port=%[2]d
tls-listening-port=%[3]d
min-port=%[4]d
max-port=%[5]d
use-auth-secret
static-auth-secret=%[6]s
realm=crolang
allow-loopback-peers
no-cli
cert=%[7]s/cert.pem
pkey=%[7]s/key.pem
userdb=%[7]s/turndb
pidfile=%[7]s/pid
log-file=/dev/null
simple-log
`

// Name implements [Kind].
func (Coturn) Name() string { return "coturn" }

// Streams implements [Kind].
func (Coturn) Streams() bool { return true }

var versionIn = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

// Version implements [Kind]: it is what Debian calls it, else what the program prints.
func (c Coturn) Version(ctx context.Context) string {
	if v := Output(ctx, "dpkg-query", "-W", "-f", "${Version}", "coturn"); v != "" && c.Path == "/usr/bin/turnserver" {
		return v + " (Debian)"
	}
	return versionIn.FindString(Output(ctx, c.Path, "--version"))
}

// Command implements [Kind].
func (c Coturn) Command(ctx context.Context, dir string, a Addresses) (*exec.Cmd, error) {
	if err := pair(dir); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "turnserver.conf")
	if err := write(file, fmt.Sprintf(coturnConfig, a.Server, a.Plain, a.TLS, a.Low, a.High, a.Secret, dir)); err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, c.Path, "-c", file), nil //nolint:gosec // found in PATH or named by the user
}

// pair makes a self-signed certificate of the kind that our server makes for itself.
func pair(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))); err != nil {
		return err
	}
	return write(filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

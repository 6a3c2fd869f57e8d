package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"time"
)

// SelfSignedFile is the name, in Config.Dir, of the one file that holds the self-signed certificate and its key. One
// file, so that no crash can leave the certificate of one pair beside the key of another.
const SelfSignedFile = "self-signed.pem"

const (
	// backdate is for clients whose clock is behind.
	backdate = 24 * time.Hour
	// storeAgain is how long a full disk is left alone.
	storeAgain = time.Minute
)

// unkept is a pair in use that the disk did not take.
type unkept struct {
	data  []byte
	tried time.Time
	err   error // of that try
}

// selfSigned makes its pairs itself and keeps them in a file. It is changed by look alone.
type selfSigned struct {
	dir    string
	log    *slog.Logger
	unkept *unkept // nil: the disk has the pair in use
}

func (s *selfSigned) kind() Kind { return SelfSigned }

func (s *selfSigned) doubts(*pair, view, adder) {}

func (s *selfSigned) file() string { return filepath.Join(s.dir, SelfSignedFile) }

// look returns what an earlier start left, and makes a pair when it is time. A pair that the disk does not take is used
// all the same, and written later.
func (s *selfSigned) look(current *pair, v view) (*pair, error) {
	reason := ""
	if current == nil {
		var p *pair
		if p, reason = s.left(v); reason == "" {
			return p, nil
		}
	} else if reason = reasonToRenew(current, v); reason == "" {
		return nil, s.keep(v.now)
	}
	p, data, err := makeSelfSigned(s.file(), v)
	if err != nil {
		return nil, err
	}
	s.log.Info("self-signed certificate made", "because", reason, "file", s.file(), "until", p.info.NotAfter, "names", p.info.Names)
	s.unkept = &unkept{data: data}
	return p, s.keep(v.now)
}

// left is the pair in the file, or the reason for which another one is needed.
func (s *selfSigned) left(v view) (p *pair, reason string) {
	b, _, err := readFile(s.file())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "there is none"
	case err != nil:
		return nil, err.Error()
	}
	if p, err = (rawPair{certFile: s.file(), keyFile: s.file(), cert: b, key: b}).parse(); err != nil {
		return nil, err.Error()
	}
	return p, reasonToRenew(p, v)
}

// keep writes the pair in use to the disk, if that has not been done.
func (s *selfSigned) keep(now time.Time) error {
	u := s.unkept
	if u == nil {
		return nil
	}
	if wait := now.Sub(u.tried); wait >= 0 && wait < storeAgain {
		return u.err
	}
	u.tried = now
	if u.err = store(s.file(), u.data); u.err != nil {
		return u.err
	}
	s.unkept = nil
	return nil
}

// reasonToRenew is empty while the self-signed p is good for longer.
func reasonToRenew(p *pair, v view) string {
	if end := p.info.NotAfter; !v.now.Before(end.Add(-v.renewBefore)) {
		return "the last one ends on " + day(end)
	}
	if v.now.Before(p.info.NotBefore) {
		return "the clock was put back, and the last one is not valid yet"
	}
	if missing := v.names.missing(p.cert.Leaf); missing != "" {
		return "the last one does not name " + missing
	}
	return ""
}

// standIn makes a pair for as long as there is no other. It is not kept.
func standIn(v view) (*pair, error) {
	p, _, err := makeSelfSigned("", v)
	if err == nil {
		p.info.StandIn = true
	}
	return p, err
}

// makeSelfSigned makes a pair for a file, and the PEM text to keep in it.
func makeSelfSigned(file string, v view) (*pair, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "crolang-aio, self-signed"},
		NotBefore:             v.now.Add(-backdate),
		NotAfter:              v.now.Add(v.validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              v.names.dns,
	}
	for _, a := range v.names.allAddrs() {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(a.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	data = append(data, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	p, err := rawPair{certFile: file, keyFile: file, cert: data, key: data}.parse()
	if err != nil {
		return nil, nil, err
	}
	return p, data, nil
}

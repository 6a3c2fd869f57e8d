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
	"math/big"
	"net"
	"path/filepath"
	"time"
)

// SelfSignedFile is the name, in Config.Dir, of the one file that holds the
// self-signed certificate and its key. One file, so that no crash can leave
// the certificate of one pair beside the key of another.
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

func (k *Keeper) selfSignedFile() string { return filepath.Join(k.cfg.Dir, SelfSignedFile) }

// startSelfSigned loads what an earlier start left, or makes a pair. Held: mu.
func (k *Keeper) startSelfSigned() error {
	name, now := k.selfSignedFile(), k.cfg.Now()
	b, _, err := readFile(name)
	reason := "there is none"
	switch {
	case err == nil:
		p, err := rawPair{certFile: name, keyFile: name, cert: b, key: b}.parse(now)
		if err != nil {
			reason = err.Error()
		} else if reason = k.reasonToRenew(p, now); reason == "" {
			k.use(p)
			return nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		reason = err.Error()
	}
	p, data, err := k.makeSelfSigned(now)
	if err != nil {
		return err
	}
	if err := store(name, data); err != nil {
		return err
	}
	k.cfg.Logger.Info("self-signed certificate made", "because", reason, "file", name, "until", p.info.NotAfter, "names", p.info.Names)
	k.use(p)
	return nil
}

// refreshSelfSigned makes the next pair when it is time. A pair that cannot be
// written is used all the same, and written later. Held: mu.
func (k *Keeper) refreshSelfSigned() error {
	now := k.cfg.Now()
	reason := k.reasonToRenew(k.current.Load(), now)
	if reason == "" {
		return k.storeUnkept(now)
	}
	p, data, err := k.makeSelfSigned(now)
	if err != nil {
		return err
	}
	k.cfg.Logger.Info("self-signed certificate made", "because", reason)
	k.unkept = &unkept{data: data}
	err = k.storeUnkept(now)
	k.use(p)
	return err
}

func (k *Keeper) storeUnkept(now time.Time) error {
	u := k.unkept
	if u == nil {
		return nil
	}
	if wait := now.Sub(u.tried); wait >= 0 && wait < storeAgain {
		return u.err
	}
	u.tried = now
	if u.err = store(k.selfSignedFile(), u.data); u.err != nil {
		return u.err
	}
	k.unkept = nil
	return nil
}

// reasonToRenew is empty while the self-signed p is good for longer.
func (k *Keeper) reasonToRenew(p *pair, now time.Time) string {
	if end := p.info.NotAfter; !now.Before(end.Add(-k.cfg.RenewBefore)) {
		return "the last one ends on " + day(end)
	}
	if now.Before(p.info.NotBefore) {
		return "the clock was put back, and the last one is not valid yet"
	}
	if missing := k.wanted.missing(p.cert.Leaf); missing != "" {
		return "the last one does not name " + missing
	}
	return ""
}

// makeSelfSigned makes a pair and the PEM text that keeps it.
func (k *Keeper) makeSelfSigned(now time.Time) (*pair, []byte, error) {
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
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(k.cfg.Validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              k.wanted.dns,
	}
	for _, a := range k.wanted.allAddrs() {
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
	name := k.selfSignedFile()
	p, err := rawPair{certFile: name, keyFile: name, cert: data, key: data}.parse(now)
	if err != nil {
		return nil, nil, err
	}
	return p, data, nil
}

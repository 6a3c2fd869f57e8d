package certs

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// rawPair is a pair as it was read, not looked at yet.
type rawPair struct {
	certFile, keyFile string // the same when one file holds both
	cert, key         []byte
	keyOpen           bool // every user of the machine may read the key
}

func (r rawPair) sum() [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d:", len(r.cert))
	h.Write(r.cert)
	h.Write(r.key)
	return [32]byte(h.Sum(nil))
}

// pair is a parsed certificate with its key. It is never changed.
type pair struct {
	sum     [32]byte
	cert    tls.Certificate
	info    Info
	keyFile string
	keyOpen bool
	byName  map[string]*pair // of several pairs, each for its names; nil: there is one
}

// pick finds the certificate for the name that a client asks for. A client that asks for none most likely uses an address:
// it gets the one for the address that it reached, or else the first.
func (p *pair) pick(h *tls.ClientHelloInfo) *tls.Certificate {
	if p.byName == nil {
		return &p.cert
	}
	name := strings.ToLower(strings.TrimSuffix(h.ServerName, "."))
	if name == "" && h.Conn != nil {
		if at, err := netip.ParseAddrPort(h.Conn.LocalAddr().String()); err == nil {
			name = at.Addr().Unmap().WithZone("").String()
		}
	}
	if one := p.byName[name]; one != nil {
		return &one.cert
	}
	if _, above, ok := strings.Cut(name, "."); ok {
		if one := p.byName["*."+above]; one != nil {
			return &one.cert
		}
	}
	return &p.cert
}

// parse checks all that can be checked without a client and a clock.
func (r rawPair) parse() (*pair, error) {
	chain, err := r.chain()
	if err != nil {
		return nil, err
	}
	key, err := r.privateKey()
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	if !publicOf(key).Equal(leaf.PublicKey) {
		return nil, r.mismatch(chain, key)
	}

	p := &pair{sum: r.sum(), keyFile: r.keyFile, keyOpen: r.keyOpen}
	p.cert.PrivateKey, p.cert.Leaf = key, leaf
	for _, c := range chain {
		p.cert.Certificate = append(p.cert.Certificate, c.Raw)
	}
	print := sha256.Sum256(leaf.Raw)
	p.info = Info{
		Source:      r.certFile,
		Names:       certNames(leaf),
		NotBefore:   leaf.NotBefore,
		NotAfter:    leaf.NotAfter,
		SelfSigned:  signedByItself(leaf),
		Fingerprint: hex.EncodeToString(print[:]),
	}
	return p, nil
}

// inTime returns an error if the certificate has ended or has yet to begin.
func (p *pair) inTime(now time.Time) error {
	switch i := p.info; {
	case now.After(i.NotAfter):
		return &problem{kind: ErrExpired, file: i.Source, what: "the certificate expired on " + day(i.NotAfter),
			remedy: "renew it (this machine's clock says " + day(now) + ")"}
	case now.Before(i.NotBefore):
		return &problem{kind: ErrNotYetValid, file: i.Source, what: "the certificate is not valid before " + day(i.NotBefore),
			remedy: "check this machine's clock, which says " + day(now)}
	}
	return nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// chain parses the CERTIFICATE blocks.
func (r rawPair) chain() ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	rest := r.cert
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &problem{ErrUnreadable, r.certFile, "holds a certificate that cannot be parsed: " + oneLine(err),
				"write it as PEM again", err}
		}
		chain = append(chain, c)
	}
	if bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, &problem{kind: ErrUnreadable, file: r.certFile, what: "is cut short",
			remedy: "write the whole PEM file, best under another name that is then renamed"}
	}
	if len(chain) == 0 {
		return nil, &problem{kind: ErrUnreadable, file: r.certFile, what: "holds no PEM certificate",
			remedy: "give the certificate chain as PEM, the server's certificate first"}
	}
	return chain, nil
}

// privateKey parses the first block that is a key.
func (r rawPair) privateKey() (crypto.PrivateKey, error) {
	rest := r.key
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, &problem{kind: ErrUnreadable, file: r.keyFile, what: "holds no PEM private key",
				remedy: "give the certificate's key as PEM"}
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, &problem{kind: ErrUnreadable, file: r.keyFile, what: "the private key is encrypted",
				remedy: "write it without a passphrase (openssl pkey -in OLD -out NEW)"}
		}
		if block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY") {
			continue
		}
		key, err := parseKey(block.Bytes)
		if err != nil {
			return nil, &problem{ErrUnreadable, r.keyFile, "the private key cannot be parsed: " + oneLine(err),
				"write it as PEM again (PKCS #8, PKCS #1 or SEC 1)", err}
		}
		return key, nil
	}
}

func parseKey(der []byte) (crypto.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	if _, ok := key.(crypto.Signer); !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return key, nil
}

type publicKey interface{ Equal(crypto.PublicKey) bool }

// publicOf works for every key that parseKey returns: all of the standard library's public keys have Equal.
func publicOf(key crypto.PrivateKey) publicKey {
	return key.(crypto.Signer).Public().(publicKey)
}

func (r rawPair) mismatch(chain []*x509.Certificate, key crypto.PrivateKey) error {
	p := &problem{kind: ErrMismatch, file: r.keyFile,
		what:   "this key does not belong to the certificate in " + r.certFile,
		remedy: "give the two files of one pair"}
	for _, c := range chain[1:] {
		if publicOf(key).Equal(c.PublicKey) {
			p.file = r.certFile
			p.what = "the server's certificate is not the first of the chain"
			p.remedy = "put it before those of its issuers"
		}
	}
	return p
}

// signedByItself reports whether a certificate is signed with its own key. CheckSignatureFrom would want a CA.
func signedByItself(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) &&
		c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func certNames(c *x509.Certificate) []string {
	out := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

// forHost returns p with Verifiable set for the host that clients are told.
func (p *pair) forHost(host string, now time.Time) *pair {
	q := *p
	q.info.Verifiable = q.names(host) && q.inTime(now) == nil && (!q.info.SelfSigned || q.vouchedFor(now))
	return &q
}

// names reports whether clients that were told host find it in the certificate.
func (p *pair) names(host string) bool {
	return host == "" || p.cert.Leaf.VerifyHostname(strings.TrimSuffix(host, ".")) == nil
}

// vouchedFor reports whether this machine's own roots lead to the certificate.
func (p *pair) vouchedFor(now time.Time) bool {
	pool := x509.NewCertPool()
	for _, der := range p.cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(c)
		}
	}
	_, err := p.cert.Leaf.Verify(x509.VerifyOptions{Intermediates: pool, CurrentTime: now})
	return err == nil
}

// oneLine makes one line of an error's text.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

package doctor

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/plural"
)

// soon is how many days before its end a certificate is worth a warning.
const soon = 14 * 24 * time.Hour

// chain is what a server showed.
type chain struct {
	leaf *x509.Certificate
	rest *x509.CertPool
	n    int
}

func parseChain(der [][]byte) (chain, error) {
	c := chain{rest: x509.NewCertPool(), n: len(der)}
	for i, b := range der {
		cert, err := x509.ParseCertificate(b)
		if err != nil {
			return c, err
		}
		if i == 0 {
			c.leaf = cert
		} else {
			c.rest.AddCert(cert)
		}
	}
	if c.leaf == nil {
		return c, errors.New("none was shown")
	}
	return c, nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// certificate judges what the server showed, as a client does that was told the URL.
func (p *probe) certificate(der [][]byte) {
	c, err := parseChain(der)
	if err != nil {
		p.add(Fail, "certificate", "the server's certificate cannot be read: "+err.Error(), "give the server a certificate in order")
		return
	}
	for _, f := range judgeCertificate(c, p.u.host, p.cfg.Roots, p.cfg.Now()) {
		f.URL = p.u.text
		p.out = append(p.out, f)
	}
}

// judgeCertificate returns all that is wrong with a chain for clients that were told host, or one OK. An authority that this
// machine does not know is a warning, since clients may know it.
func judgeCertificate(c chain, host string, roots *x509.CertPool, now time.Time) (out []Finding) {
	add := func(status Status, detail, remedy string) {
		out = append(out, Finding{Check: "certificate", Status: status, Detail: detail, Remedy: remedy})
	}
	until := c.leaf.NotAfter.UTC().Format("2006-01-02 15:04 UTC")
	left := c.leaf.NotAfter.Sub(now)
	switch {
	case now.After(c.leaf.NotAfter):
		add(Fail, fmt.Sprintf("the certificate expired %s ago, on %s", days(-left), until),
			"renew it, and check that what renews it runs; or the clock of this machine is wrong")
	case now.Before(c.leaf.NotBefore):
		add(Fail, fmt.Sprintf("the certificate is not valid before %s, in %s", c.leaf.NotBefore.UTC().Format("2006-01-02 15:04 UTC"),
			days(c.leaf.NotBefore.Sub(now))), "correct the clock: of this machine, or of the one that made the certificate")
	case left < soon:
		add(Warn, fmt.Sprintf("the certificate ends in %s, on %s", days(left), until), "renew it, and check that what renews it runs")
	}
	if err := c.leaf.VerifyHostname(bracketed(host)); err != nil {
		add(Fail, fmt.Sprintf("the certificate is not for %s, but for %s", host, namesOf(c.leaf)),
			"get one with this name, or put the name that it has into the URLs (public.host)")
	}
	out = append(out, judgeIssuer(c, roots, now)...)
	if len(out) == 0 {
		add(OK, fmt.Sprintf("valid for %s until %s, %s left, issued by %s", host, until, days(left), issuerOf(c.leaf)), "")
	}
	return out
}

// judgeIssuer looks at who signed, at a time when the certificate holds: its end is judged elsewhere.
func judgeIssuer(c chain, roots *x509.CertPool, now time.Time) []Finding {
	f := Finding{Check: "certificate", Status: Warn}
	if selfSigned(c.leaf) {
		f.Detail = "the certificate is self-signed, and ends on " + c.leaf.NotAfter.UTC().Format("2006-01-02") + ": browsers refuse it, others may"
		f.Remedy = "get one from an authority that clients know (certs.cert_file, certs.key_file)"
		return []Finding{f}
	}
	at := now
	if at.After(c.leaf.NotAfter) || at.Before(c.leaf.NotBefore) {
		at = c.leaf.NotBefore.Add(c.leaf.NotAfter.Sub(c.leaf.NotBefore) / 2)
	}
	_, err := c.leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: c.rest, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown) && c.n == 1:
		f.Detail = fmt.Sprintf("the certificate was issued by %s, which this machine does not know, and the server shows no chain", issuerOf(c.leaf))
		f.Remedy = "give the server the whole chain (fullchain.pem), not the certificate alone; a private authority must be known to every client"
	case errors.As(err, &unknown):
		f.Detail = fmt.Sprintf("the chain of the certificate ends at an authority that this machine does not know (issued by %s)", issuerOf(c.leaf))
		f.Remedy = "a private authority must be known to every client; browsers refuse it otherwise"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		f.Status, f.Detail, f.Remedy = Fail, "the certificate is not made for servers", "get one with the usage serverAuth"
	default:
		f.Status, f.Detail, f.Remedy = Fail, "the chain of the certificate is broken: "+err.Error(), "give the server the whole chain in order, its own certificate first"
	}
	return []Finding{f}
}

// bracketed makes VerifyHostname take an address as one.
func bracketed(host string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return "[" + host + "]"
	}
	return host
}

func namesOf(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all"
	}
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return strings.Join(names, ", ")
}

func issuerOf(c *x509.Certificate) string {
	switch {
	case c.Issuer.CommonName != "":
		return c.Issuer.CommonName
	case len(c.Issuer.Organization) > 0:
		return c.Issuer.Organization[0]
	}
	return "an unnamed authority"
}

// days writes how long something is, in the largest unit of which there are two.
func days(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d/time.Hour))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", int(d/time.Minute))
	}
	return plural.Of(int(d/time.Second), "second")
}

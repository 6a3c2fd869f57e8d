package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// certificate looks at what TLS and DTLS clients are shown, and whether it is what the file has.
func (l *local) certificate(ctx context.Context) []Finding {
	var n notes
	for _, x := range l.status.Listeners {
		at, ok := l.reachable(x)
		if !ok || x.Transport != "tls" && x.Transport != "dtls" {
			continue
		}
		c, err := l.dial(ctx, x.Transport, at)
		if err != nil {
			continue // said by listeners
		}
		shown, err := parseChain(c.PeerCertificates())
		_ = c.Close()
		if err != nil {
			n.add(Fail, "certificate", "the certificate that the server shows cannot be read: "+err.Error(), "give certs.cert_file a certificate in order")
			return n
		}
		if own := l.status.Certificate; own != nil && own.StandIn {
			return nil // the server says itself that the operator's cannot be used, and why
		}
		l.judgeServed(&n, shown)
		l.compareFile(&n, shown)
		return n
	}
	return nil
}

// selfMade reports whether the server's certificate is the one that the program makes itself.
func (l *local) selfMade() bool {
	return l.status.Certificate != nil && l.status.Certificate.Kind == "self-signed"
}

// judgeServed judges the certificate: the program's own for its dates, an operator's for everything.
func (l *local) judgeServed(n *notes, shown chain) {
	if !l.selfMade() {
		*n = append(*n, judgeCertificate(shown, l.status.Public.Host, l.cfg.Roots, l.cfg.Now())...)
		return
	}
	left := shown.leaf.NotAfter.Sub(l.cfg.Now())
	told := "turns: URLs are not told for that reason"
	if slices.ContainsFunc(l.status.URLs, func(u string) bool { return strings.HasPrefix(u, "turns:") }) {
		told = "turns: URLs are told all the same (hooks.rtc.advertise_tls)"
	}
	switch {
	case left <= 0 || l.cfg.Now().Before(shown.leaf.NotBefore):
		n.add(Fail, "certificate", fmt.Sprintf("the self-signed certificate is valid from %s to %s, and not now",
			shown.leaf.NotBefore.UTC().Format(time.DateTime), shown.leaf.NotAfter.UTC().Format(time.DateTime)),
			"correct the clock; the running server renews the certificate by itself")
	default:
		n.add(OK, "certificate", fmt.Sprintf("self-signed, %s left, renewed by itself; browsers refuse it, and %s", days(left), told), "")
	}
}

// compareFile finds that the file has another certificate than the server shows, or none.
func (l *local) compareFile(n *notes, shown chain) {
	switch {
	case l.selfMade():
		l.compareSelfSigned(n)
		return
	case l.KeyFile == "":
		return // it is kept by the program
	}
	file, why := l.readPair()
	switch {
	case why != nil && why.check != "":
		n.add(Warn, "certificate", why.detail, why.remedy)
	case why != nil:
		n.add(Fail, "certificate", why.detail+"; the server still shows the one that it had, until "+shown.leaf.NotAfter.UTC().Format(time.DateOnly), why.remedy)
	case !bytes.Equal(file.leaf.Raw, shown.leaf.Raw):
		n.add(Fail, "certificate", fmt.Sprintf("the server shows another certificate, until %s, than %s has", shown.leaf.NotAfter.UTC().Format(time.DateOnly), l.CertFile),
			"look in the server's log for why it does not take the file's; a new file is taken within seconds")
	}
}

// compareSelfSigned finds that the program's own certificate is gone from the disk.
func (l *local) compareSelfSigned(n *notes) {
	if _, err := os.Stat(l.CertFile); errors.Is(err, fs.ErrNotExist) {
		n.add(Warn, "certificate", l.CertFile+" is not there; the server still shows the certificate that it had",
			"put it back, or let the next start make another, which clients then have to trust anew")
	}
}

// showsCertificate reports whether the server has a listener of TLS or DTLS.
func (l *local) showsCertificate() bool {
	return slices.ContainsFunc(l.status.Listeners, func(x adminapi.Listener) bool { return x.Transport == "tls" || x.Transport == "dtls" })
}

// certificateFiles judges the operator's pair when no server can be asked what it shows.
func (l *local) certificateFiles(context.Context) []Finding {
	if l.KeyFile == "" {
		return nil
	}
	var n notes
	file, why := l.readPair()
	now := l.cfg.Now()
	switch {
	case why != nil && why.check != "":
		n.add(Warn, "certificate", why.detail, why.remedy)
	case why != nil:
		n.add(Fail, "certificate", why.detail, why.remedy)
	case now.After(file.leaf.NotAfter), now.Before(file.leaf.NotBefore):
		n.add(Fail, "certificate", fmt.Sprintf("%s is valid from %s to %s, and not now", l.CertFile,
			file.leaf.NotBefore.UTC().Format(time.DateTime), file.leaf.NotAfter.UTC().Format(time.DateTime)), "renew it, or correct the clock")
	default:
		n.add(OK, "certificate", fmt.Sprintf("%s and its key belong together, %s left", l.CertFile, days(file.leaf.NotAfter.Sub(now))), "")
	}
	return n
}

// readPair reads the operator's certificate and key as the server does. A failure with a check is about this user alone.
func (l *local) readPair() (chain, *failure) {
	const whole = "give the two files of one pair, as PEM (certs.cert_file, certs.key_file)"
	var data [2][]byte
	for i, file := range []string{l.CertFile, l.KeyFile} {
		var err error
		data[i], err = os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return chain{}, &failure{"certificate", file + " cannot be read by this user, and so not be judged", "run doctor as the user that the server runs as"}
		case err != nil:
			return chain{}, &failure{"", fmt.Sprintf("%s cannot be read: %s", file, lastOf(err)), "put it back, or correct its path (certs.cert_file, certs.key_file)"}
		}
	}
	pair, err := tls.X509KeyPair(data[0], data[1])
	if err != nil {
		return chain{}, &failure{"", fmt.Sprintf("%s and %s are no pair: %s", l.CertFile, l.KeyFile, strings.TrimPrefix(err.Error(), "tls: ")), whole}
	}
	c, err := parseChain(pair.Certificate)
	if err != nil {
		return c, &failure{"", l.CertFile + " has no certificate that can be read", whole}
	}
	return c, nil
}

package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// An operator's certificate is worth a line a fortnight before its end, short-lived ones in their last third, and all
// of them when they end within two days.
const (
	warnBefore = 14 * 24 * time.Hour
	warnLast   = 48 * time.Hour
)

// Doubts returns what an operator should know about the pair in use now. The ids are soon, expired, early, kept,
// unusable, awaited, mode, names and usage; acme.NAME, why a CA gives no certificate for a name; and acme.check1 and so on,
// what looked wrong before it was asked.
func (k *Keeper) Doubts() []findings.Finding {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doubts()
}

// apart separates what is wrong from the remedy.
func apart(err error) (what, remedy string) {
	var p *problem
	if errors.As(err, &p) {
		return p.file + ": " + p.what, p.remedy
	}
	what, remedy, _ = strings.Cut(err.Error(), "; ")
	return what, remedy
}

// complain logs the doubts that have not been said yet. Held: mu.
func (k *Keeper) complain() { k.found.Replace("", k.doubts()) }

// doubts are what Doubts returns. Held: mu.
func (k *Keeper) doubts() (all []findings.Finding) {
	add := func(id, remedy, format string, args ...any) {
		all = append(all, findings.Finding{ID: id, Detail: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	p, v := k.current.Load(), k.view()
	what, remedy := "", ""
	if k.cause != nil {
		what, remedy = apart(k.cause)
	}
	if p.info.StandIn {
		if errors.Is(k.cause, ErrAwaited) {
			add("awaited", remedy, "%s; until then TLS and DTLS show a self-signed certificate, which clients refuse", what)
		} else {
			add("unusable", remedy, "%s; until that is mended TLS and DTLS show a self-signed certificate, which clients refuse", what)
		}
		if asks(k.src) != nil {
			k.src.doubts(p, v, add)
		}
		return all
	}
	switch {
	case !v.now.Before(p.info.NotAfter):
		add("expired", "renew it, it is loaded as soon as it changes", "%s: the certificate expired on %s, clients refuse it", p.info.Source, day(p.info.NotAfter))
	case v.now.Before(p.info.NotBefore):
		add("early", "check this machine's clock, which says "+day(v.now),
			"%s: the certificate is not valid before %s, clients refuse it until then", p.info.Source, day(p.info.NotBefore))
	}
	k.src.doubts(p, v, add)
	if k.cause != nil {
		add("kept", remedy, "%s; the certificate in use stays, until %s", what, day(p.info.NotAfter))
	}
	return all
}

// doubts implements source.
func (f *files) doubts(p *pair, v view, add adder) {
	if left := p.info.NotAfter.Sub(v.now); left > 0 && endsSoon(p.info, left) {
		add("soon", "renew it, it is loaded as soon as it changes", "%s: the certificate expires soon, on %s", p.info.Source, day(p.info.NotAfter))
	}
	if p.keyOpen {
		add("mode", "chmod o-r", "%s: the private key can be read by every user of this machine", p.keyFile)
	}
	if !p.names(v.host) {
		add("names", "get one that does, or set public.host to a name of it",
			"%s: the certificate does not name the public host %s, clients refuse it", p.info.Source, v.host)
	}
	if !forServers(p.cert.Leaf.ExtKeyUsage) {
		add("usage", "get one with the extended key usage serverAuth", "%s: the certificate is not for servers, clients refuse it", p.info.Source)
	}
}

func endsSoon(i Info, left time.Duration) bool {
	third := i.NotAfter.Sub(i.NotBefore) / 3
	return left < max(warnLast, min(warnBefore, third))
}

func forServers(usage []x509.ExtKeyUsage) bool {
	return len(usage) == 0 || slices.Contains(usage, x509.ExtKeyUsageServerAuth) || slices.Contains(usage, x509.ExtKeyUsageAny)
}

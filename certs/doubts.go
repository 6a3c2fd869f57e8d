package certs

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// Doubts are what is doubtful about the pair in use now. Their ids are soon, expired, kept, mode, names and usage.
func (k *Keeper) Doubts() []findings.Finding {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []findings.Finding
	add := func(id, text, remedy string) {
		all = append(all, findings.Finding{ID: id, Detail: text, Remedy: remedy})
	}
	p := k.current.Load()
	info, now := p.info, k.cfg.Now()
	const renew = "renew it, it is loaded as soon as it changes"
	switch left := info.NotAfter.Sub(now); {
	case left <= 0:
		add("expired", fmt.Sprintf("%s: the certificate expired on %s, clients refuse it", info.Source, day(info.NotAfter)), renew)
	case k.given() && endsSoon(info, left):
		add("soon", fmt.Sprintf("%s: the certificate expires on %s", info.Source, day(info.NotAfter)), renew)
	}
	if k.said.cause != "" {
		what, remedy, _ := strings.Cut(k.said.cause, "; ")
		add("kept", what+"; the certificate in use stays, until "+day(info.NotAfter), remedy)
	}
	if !k.given() {
		return all
	}
	if p.keyOpen {
		add("mode", p.keyFile+": the private key can be read by every user of this machine", "chmod o-r")
	}
	if !p.names(k.host) {
		add("names", fmt.Sprintf("%s: the certificate does not name %s, clients refuse it", info.Source, k.host),
			"get one that does, or set public.host to a name of it")
	}
	if !forServers(p.cert.Leaf.ExtKeyUsage) {
		add("usage", info.Source+": the certificate is not for servers, clients refuse it", "get one with the extended key usage serverAuth")
	}
	return all
}

func forServers(usage []x509.ExtKeyUsage) bool {
	return len(usage) == 0 || slices.Contains(usage, x509.ExtKeyUsageServerAuth) || slices.Contains(usage, x509.ExtKeyUsageAny)
}

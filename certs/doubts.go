package certs

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Doubt is something about the pair in use that its operator should know.
type Doubt struct {
	ID     string // soon, expired, kept, mode, names, usage
	Text   string // what is wrong
	Remedy string
}

// Doubts are what is doubtful about the pair in use now.
func (k *Keeper) Doubts() []Doubt {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []Doubt
	add := func(id, text, remedy string) { all = append(all, Doubt{id, text, remedy}) }
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

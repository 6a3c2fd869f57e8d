package certs

import "time"

// An operator's certificate is worth a line a fortnight before its end, short-
// lived ones in their last third, and all of them when they end tomorrow.
const (
	warnBefore = 14 * 24 * time.Hour
	warnLast   = 48 * time.Hour
)

func endsSoon(i Info, left time.Duration) bool {
	third := i.NotAfter.Sub(i.NotBefore) / 3
	return left < max(warnLast, min(warnBefore, third))
}

// complain logs what is doubtful about the pair in use, each thing once. Held: mu.
func (k *Keeper) complain() {
	p := k.current.Load()
	info, log, now := p.info, k.cfg.Logger, k.cfg.Now()

	left := info.NotAfter.Sub(now)
	switch print := info.Fingerprint; {
	case left <= 0:
		if k.said.expired != print {
			k.said.expired = print
			log.Error("certificate has expired, clients refuse it: renew it, it is loaded as soon as it changes",
				"file", info.Source, "until", info.NotAfter)
		}
	case endsSoon(info, left):
		if k.said.soon != print && k.given() {
			k.said.soon = print
			log.Warn("certificate expires soon: renew it, it is loaded as soon as it changes",
				"file", info.Source, "until", info.NotAfter, "left", left.Round(time.Minute))
		}
	}
	if k.given() {
		k.complainGiven(p)
	}
}

func (k *Keeper) complainGiven(p *pair) {
	info, log := p.info, k.cfg.Logger
	if p.keyOpen && !k.said.keyMode {
		k.said.keyMode = true
		log.Warn("private key can be read by every user of this machine: chmod o-r", "file", p.keyFile)
	}
	if about := info.Fingerprint + " " + k.host; !p.names(k.host) && k.said.names != about {
		k.said.names = about
		log.Warn("certificate does not name the public host, clients refuse it: get one that does, or set the public host to a name of it",
			"file", info.Source, "public_host", k.host, "names", info.Names)
	}
	if !forServers(p.cert.Leaf.ExtKeyUsage) && k.said.usage != info.Fingerprint {
		k.said.usage = info.Fingerprint
		log.Warn("certificate is not for servers, clients refuse it: get one with the extended key usage serverAuth", "file", info.Source)
	}
}

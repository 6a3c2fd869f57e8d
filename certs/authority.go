package certs

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/crolang-p2p/crolang-aio/certs/acme"
)

// authority is the source of pairs that a CA gives.
type authority struct {
	client *acme.Client
}

func (k *Keeper) newAuthority(cfg Config) (source, error) {
	set := *cfg.ACME
	if len(set.Domains) == 0 && cfg.PublicHost != "" {
		set.Domains = []string{cfg.PublicHost}
	}
	c, err := acme.New(acme.Config{
		Settings: set, Surroundings: cfg.Around, Pace: cfg.Pace, Dir: filepath.Join(cfg.Dir, "acme"), Changed: k.look, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &authority{client: c}, nil
}

// asks is the client of a source that asks a CA, or nil.
func asks(s source) *acme.Client {
	if a, ok := s.(*authority); ok {
		return a.client
	}
	return nil
}

// Answering is the address at which a CA is answered by http-01, while it asks.
func (k *Keeper) Answering() (netip.AddrPort, bool) {
	if client := k.answer.Load(); client != nil {
		return client.Listening()
	}
	return netip.AddrPort{}, false
}

// Attempts counts what came of asking the CA since it was configured: "obtained", "taken" from another machine that did, or why
// there is none. It is nil if none is asked.
func (k *Keeper) Attempts() map[string]uint64 {
	client := k.answer.Load()
	if client == nil {
		return nil
	}
	s := client.Stats()
	all := map[string]uint64{"obtained": s.Obtained, "taken": s.Taken}
	for cause, n := range s.Failed {
		all[string(cause)] = n
	}
	return all
}

func (a *authority) kind() Kind { return ACME }

// look gathers what the CA has given. The first pair is the one for the host that clients are told, or else for the first
// name.
func (a *authority) look(current *pair, v view) (*pair, error) {
	var all []*pair
	for _, c := range a.client.Certificates() {
		p, err := (rawPair{certFile: c.File, keyFile: c.File, cert: c.PEM, key: c.PEM}).parse()
		if err != nil {
			return nil, err
		}
		p.cert.OCSPStaple = c.Staple
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, a.missing()
	}
	if i := slices.IndexFunc(all, func(p *pair) bool { return v.host != "" && p.names(v.host) }); i > 0 {
		first := all[i]
		all = slices.Insert(slices.Delete(all, i, i+1), 0, first)
	}
	p := together(all)
	if current != nil && current.sum == p.sum {
		return nil, nil
	}
	return p, nil
}

// missing is why there is no pair at all.
func (a *authority) missing() error {
	if all := a.client.Troubles(); len(all) > 0 {
		t := all[0]
		return &problem{ErrRefused, t.Domain, fmt.Sprintf("there is no certificate: %s; tried again at %s", t.What, day(t.Next)), t.Remedy, &t.Failure}
	}
	return &problem{kind: ErrAwaited, file: a.client.Domains()[0], what: a.client.CA() + " has not given a certificate yet", remedy: "nothing has to be done: it is being asked"}
}

// together makes one pair of several, each for its names.
func together(all []*pair) *pair {
	p := *all[0]
	if len(all) > 1 {
		p.byName = map[string]*pair{}
	}
	h := sha256.New()
	p.info.Names = nil
	for _, one := range all {
		h.Write(one.sum[:])
		h.Write(one.cert.OCSPStaple)
		for _, name := range one.info.Names {
			if len(all) > 1 && p.byName[name] == nil {
				p.byName[name] = one
			}
			if !slices.Contains(p.info.Names, name) {
				p.info.Names = append(p.info.Names, name)
			}
		}
	}
	p.sum = [32]byte(h.Sum(nil))
	return &p
}

// doubts implements source.
func (a *authority) doubts(p *pair, v view, add adder) {
	for _, t := range a.client.Troubles() {
		if p.info.Kind == ACME && !p.info.StandIn || t.Domain != a.client.Domains()[0] { // else that is why it stands in
			add("acme."+t.Domain, t.Remedy, "%s: there is no new certificate: %s; tried again at %s", t.Domain, t.What, day(t.Next))
		}
	}
	for i, c := range a.client.Checks() {
		add(fmt.Sprintf("acme.check%d", i+1), c.Remedy, "%s", c.What)
	}
	if p.info.StandIn {
		return
	}
	if left := p.info.NotAfter.Sub(v.now); left > 0 && left < min(warnBefore, p.info.NotAfter.Sub(p.info.NotBefore)/5) {
		add("soon", "see why the CA gives no other", "%s: the certificate expires soon, on %s", p.info.Source, day(p.info.NotAfter))
	}
	if p.info.Kind == ACME && !p.names(v.host) {
		add("names", "add it to certs.acme.domains, or set public.host to a name of it",
			"%s: no certificate names the public host %s, clients refuse it", p.info.Source, v.host)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
)

const (
	lookEvery      = 5 * time.Second // at the default route: no packet is sent
	askEvery       = time.Minute     // STUN servers, and the resolver for public.host
	resolveTimeout = 3 * time.Second
)

// addresses is what the watch of this machine's addresses knows. The app's changing guards it.
type addresses struct {
	look, ask time.Duration
	wake      chan struct{} // see again
	seen      seen
	told      []netip.Addr // that new and live allocations have
}

// seen is what STUN servers have said.
type seen struct {
	mapped  netip.Addr   // the last address that most of them saw; not valid: none
	others  []netip.Addr // that some saw at the same time
	silent  []string     // those that gave no answer the last time
	because string       // of the first of them
}

// learn is what is known with these answers. Where none says anything, the last address stays.
func (d *addresses) learn(servers []string, answers []publicaddr.Answer) seen {
	s := d.seen
	if len(servers) == 0 {
		return seen{}
	}
	if len(answers) == 0 {
		return s
	}
	s.silent, s.because, s.others = nil, "", nil
	if a, ok := publicaddr.Majority(answers); ok {
		s.mapped = a
	}
	for _, a := range answers {
		switch {
		case a.Err != nil:
			if s.silent = append(s.silent, a.Server); s.because == "" {
				s.because = a.Err.Error()
			}
		case a.Addr != s.mapped && !slices.Contains(s.others, a.Addr):
			s.others = append(s.others, a.Addr)
		}
	}
	return s
}

// again makes the watch look at once.
func (d *addresses) again() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// known is what findPublic goes by. Held: changing.
func (a *app) known(mapped netip.Addr) known {
	k := known{mapped: mapped}
	if p := a.public.Load(); p != nil {
		k.bind = p.ipv4.Bind
	}
	return k
}

// openPublic finds the addresses at the start. STUN servers that are silent hold it up for a few seconds at most.
func (a *app) openPublic() error {
	a.addresses.wake = make(chan struct{}, 1)
	servers := a.cfg().Public.STUN
	if len(servers) > 0 {
		a.addresses.seen = a.addresses.learn(servers, publicaddr.Ask(context.Background(), servers))
	}
	p, err := findPublic(a.cfg(), a.known(a.addresses.seen.mapped))
	if err == nil {
		a.public.Store(&p)
	}
	return err
}

// watch keeps the addresses up to date until ctx ends: it looks at the default route often, and asks the STUN servers now
// and then, and when the route has changed.
func (a *app) watch(ctx context.Context) error {
	tick := time.NewTicker(a.addresses.look)
	defer tick.Stop()
	route, _ := publicaddr.Route4()
	asked := time.Now()
	a.refresh(ctx, false)
	for {
		woken := false
		select {
		case <-ctx.Done():
			return nil
		case <-a.addresses.wake:
			woken = true
		case <-tick.C:
		}
		a.lookAtClock(&a.clock)
		now, _ := publicaddr.Route4()
		if due := now != route || time.Since(asked) >= a.addresses.ask; due || woken {
			a.refresh(ctx, due)
			if route = now; due {
				asked = time.Now()
				a.dir.Touch()
			}
		}
	}
}

// refresh finds the addresses again, with ask from the STUN servers too, and makes what has changed known.
func (a *app) refresh(ctx context.Context, ask bool) {
	cfg := a.cfg()
	var answers []publicaddr.Answer
	if ask && len(cfg.Public.STUN) > 0 {
		answers = publicaddr.Ask(ctx, cfg.Public.STUN)
	}
	host, errHost := resolve(ctx, cfg.Public.Host)
	if ctx.Err() != nil {
		return
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	if a.cfg() != cfg {
		a.addresses.again() // a reload came between
		return
	}
	a.addresses.seen = a.addresses.learn(cfg.Public.STUN, answers)
	p, err := findPublic(cfg, a.known(a.addresses.seen.mapped))
	if err != nil {
		a.findings.Replace("public.", []findings.Finding{{ID: "public.address", Detail: err.Error(), Remedy: "the addresses from before stay"}})
		return
	}
	a.changed(&p)
	a.findings.Replace("public.", publicFindings(cfg, &p, situation{
		exposed: a.exposed(), container: publicaddr.Container(p.ipv4.Bind), seen: a.addresses.seen, host: host, errHost: errHost,
		local: publicaddr.IsLocal,
	}))
}

// changed makes p hold, and says so where it is another one than before. Held: changing.
func (a *app) changed(p *public) {
	old := a.public.Load()
	if *old == *p {
		// Earlier addresses are given up when the last allocation that has one has ended.
		if told, err := a.turn.Move(p.ipv4, p.ipv6); err == nil && !slices.Equal(told, a.addresses.told) {
			a.addresses.told = told
			a.peers.SetPublic(told)
		}
		return
	}
	if err := a.move(p, nil); err != nil {
		a.part("public").Error("the public address stays as it was", "err", err)
		return
	}
	if names := certSettings(a.cfg(), p); names.PublicHost != certSettings(a.cfg(), old).PublicHost {
		if err := a.certs.SetNames(names.PublicHost, names.Hosts); err != nil {
			a.part("certs").Error("the certificate stays as it was", "err", err)
		}
	}
	was, is := addressText(old), addressText(p)
	a.part("public").Warn("the address of this server has changed: new credentials and allocations carry the new one", "from", was, "to", is)
	a.nodes.Tell("address", "the address of this server has changed from "+was+" to "+is+": new credentials and allocations carry it")
}

func addressText(p *public) string {
	var all []string
	for _, ip := range p.advertised() {
		all = append(all, ip.String())
	}
	return strings.Join(all, " and ")
}

// exposed says whether a TURN listener is on more than loopback.
func (a *app) exposed() bool {
	for _, l := range a.turn.Listeners() {
		if !l.Addr.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

// resolve is what a public host stands for; nothing where there is none to look up.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "auto" {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		err = errors.New(e.Err)
	}
	return found, err
}

// situation is what publicFindings judges beside the configuration.
type situation struct {
	exposed   bool   // a TURN listener is on more than loopback
	container string // see publicaddr.Container
	seen      seen
	host      []netip.Addr // what public.host resolves to
	errHost   error
	local     func(netip.Addr) bool
}

// publicFindings are what looks wrong with the addresses that clients are told.
func publicFindings(cfg *config.Config, p *public, s situation) (all []findings.Finding) {
	add := func(id, remedy, format string, args ...any) {
		all = append(all, findings.Finding{ID: "public." + id, Detail: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	bind, told := p.ipv4.Bind, p.ipv4.Advertise
	inContainer := s.container != "" && bind.IsPrivate() && (bind.As4()[0] == 172 || bind.As4()[0] == 10)
	switch {
	case !told.IsValid() || !s.exposed:
	case told.IsLoopback():
		add("private", "connect the machine to a network, or set public.ipv4", "clients are told %s, which only this machine reaches", told)
	case publicaddr.IsPrivate(told) && inContainer:
		add("container", "set public.ipv4 to the host's address and publish the ports of turn.listen and turn.relay_ports, or run the container with --network host",
			"this runs in %s, and clients are told its address %s, which they cannot reach", s.container, told)
	case publicaddr.IsPrivate(told):
		add("private", "set public.ipv4 to the address outside, or public.stun to have it found; nothing where every client is inside",
			"clients are told %s, a private address that those on the Internet cannot reach", told)
	case bind != told && publicaddr.IsPrivate(bind):
		add("nat", fmt.Sprintf("let the router, or the container's host, forward turn.listen and the UDP ports %d-%d to %s",
			cfg.Turn.RelayPorts.Min, cfg.Turn.RelayPorts.Max, bind), "this is behind NAT: relays on %s are told to clients as %s", bind, told)
	}
	if m := s.seen.mapped; m.IsValid() && cfg.Public.IPv4 != "auto" && cfg.Public.IPv4 != "off" && m != told {
		add("differs", fmt.Sprintf("set public.ipv4 to %s, or to \"auto\"", m), "public.ipv4 is %s, but the servers of public.stun see this machine at %s", told, m)
	}
	if len(s.seen.others) > 0 {
		add("many", "set public.ipv4 to the one that reaches this machine", "the servers of public.stun see this machine at %s and at %v", s.seen.mapped, s.seen.others)
	}
	if len(s.seen.silent) > 0 {
		add("stun", "check the name, and that UDP may leave this machine; the last known address stays",
			"%s of public.stun: %s", strings.Join(s.seen.silent, ", "), s.seen.because)
	}
	isHere := func(ip netip.Addr) bool {
		ip = ip.Unmap()
		return ip == told || ip == p.ipv6.Advertise || s.local(ip)
	}
	switch {
	case s.errHost != nil:
		add("host", "correct the name, or its record in the DNS", "public.host %s cannot be resolved (%v): clients do not find this server", cfg.Public.Host, s.errHost)
	case len(s.host) == 1 && s.host[0].String() == cfg.Public.Host && !isHere(s.host[0]):
		add("host", "set public.ipv4 to the address outside, or public.host to a name or an address of this server",
			"public.host is %s, and this server is at %s", cfg.Public.Host, addressText(p))
	case len(s.host) > 0 && !slices.ContainsFunc(s.host, isHere):
		add("host", "correct the record in the DNS, or public.ipv4", "public.host %s is at %v, and this server is at %s", cfg.Public.Host, s.host, addressText(p))
	}
	return all
}

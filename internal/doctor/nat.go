package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/natprobe"
)

// nat asks the server of a URL over UDP what kind of NAT is on the way to it. A server of TURN is not expected to know.
func (p *probe) nat(ctx context.Context) {
	if p.u.transport != "udp" || p.cfg.Local != nil { // to itself there is no way that others take
		return
	}
	r, err := natprobe.Ask(ctx, p.at, p.cfg.Patience)
	switch {
	case errors.Is(err, natprobe.ErrNotOffered) && p.u.turn:
	case errors.Is(err, natprobe.ErrNotOffered):
		p.add(OK, "nat", "what kind of NAT is on the way to it was not tried: "+err.Error(), "")
	case err != nil:
		p.add(Warn, "nat", "what kind of NAT is on the way to it could not be found out: "+err.Error(), "try again: a datagram may have been lost")
	default:
		p.out = append(p.out, judgeNAT(r, p.u.text))
	}
}

// judgeNAT says in one line what one is behind, and what that means for direct connections.
func judgeNAT(r natprobe.Result, url string) Finding {
	f := Finding{Check: "nat", Status: OK, URL: url}
	var parts []string
	if !r.NAT() {
		parts = append(parts, fmt.Sprintf("there is no NAT on the way to it: it sees this machine's own %s", r.Local.Addr()))
	} else {
		parts = append(parts, fmt.Sprintf("this machine is behind a NAT (%s is seen as %s)", r.Local.Addr(), r.Mapped.Addr()))
		if r.Mapping == natprobe.Unknown || r.Mapping == r.Filtering {
			parts[0] += fmt.Sprintf(" with %s mapping and filtering", r.Mapping)
		} else {
			parts[0] += fmt.Sprintf(" with %s mapping and %s filtering", r.Mapping, r.Filtering)
		}
	}
	parts = append(parts, prospects(r, &f))
	if r.ALG {
		parts = append(parts, "something on the way rewrites addresses within messages")
		f.Status = Warn
		f.Remedy = strings.TrimPrefix(f.Remedy+"; turn the ALG of the router off, or use TLS", "; ")
	}
	f.Detail = strings.Join(parts, "; ")
	return f
}

// prospects says how good those of direct connections are.
func prospects(r natprobe.Result, f *Finding) string {
	const open = "nothing keeps out who was not written to: direct connections work"
	const keeps = "only who was written to can answer: direct connections usually work"
	switch {
	case r.Mapping == natprobe.Unknown:
		f.Status, f.Remedy = Warn, "try another server"
		return fmt.Sprintf("its other address %s does not answer from here, so that is all that could be found out", r.Other)
	case r.Mapping != natprobe.EndpointIndependent:
		f.Status = Warn
		f.Remedy = "have a TURN server ready, as the RTC configuration does; for a server on this machine, forward its ports"
		return "each peer sees another address or port of it (a symmetric NAT): direct connections work only with peers whose NAT is not of that kind, the others need a relay"
	case r.Filtering == natprobe.Unknown:
		f.Status, f.Remedy = Warn, "try another server"
		return fmt.Sprintf("whether others get in could not be found out: its other address %s does not answer from here", r.Other)
	case r.Filtering == natprobe.EndpointIndependent:
		return open
	case !r.NAT():
		return fmt.Sprintf("a firewall is there all the same (%s filtering), and %s", r.Filtering, keeps)
	}
	return keeps
}

// natHere asks the servers of public.stun, until one can tell, what kind of NAT this machine is behind.
func (l *local) natHere(ctx context.Context) []Finding {
	var last []Finding
	for _, text := range l.STUN {
		u, err := parseURL(text)
		if err != nil {
			continue
		}
		p := &probe{cfg: &Config{}, u: u}
		*p.cfg = *l.cfg
		p.cfg.Local = nil
		addrs, why := p.resolve(ctx)
		if why != nil {
			continue // the server has a finding of its own about it
		}
		p.at = netip.AddrPortFrom(addrs[0], u.port)
		p.nat(ctx)
		for i := range p.out {
			p.out[i].URL = text
		}
		if last = p.out; len(last) == 1 && !strings.Contains(last[0].Detail, "was not tried") {
			return last
		}
	}
	return last
}

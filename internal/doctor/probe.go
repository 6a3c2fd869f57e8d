package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// probe tries one URL.
type probe struct {
	cfg *Config
	t   Target
	u   iceURL
	at  netip.AddrPort // the address that answered
	out []Finding

	sent   bool                 // the server has sent clients elsewhere, and at is there
	opened []*turnclient.Client // to be closed at the end
}

// probeURL tries a URL as far as it goes: its name, connecting, the certificate, Binding, and for TURN allocations and what
// goes through them. All that it opened is closed when it returns, the allocations too.
func probeURL(ctx context.Context, cfg *Config, t Target) []Finding {
	u, err := parseURL(t.URL)
	if err != nil {
		return []Finding{{Check: "url", Status: Fail, URL: t.URL, Detail: err.Error(), Remedy: "correct the URL"}}
	}
	p := &probe{cfg: cfg, t: t, u: u}
	defer p.close()
	p.run(ctx)
	if ctx.Err() != nil {
		// What was said after the end is about the end, not about the server.
		p.out = append(slices.DeleteFunc(p.out, func(f Finding) bool { return f.Status != OK }), unfinished(ctx, t.URL))
	}
	return p.out
}

func (p *probe) close() {
	for _, c := range p.opened {
		_ = c.Close()
	}
}

func (p *probe) add(status Status, check, detail, remedy string) {
	p.out = append(p.out, Finding{Check: check, Status: status, Detail: detail, Remedy: remedy, URL: p.u.text})
}

func (p *probe) fail(why *failure) { p.add(Fail, why.check, why.detail, why.remedy) }

// failure is why a step did not work.
type failure struct{ check, detail, remedy string }

func (p *probe) run(ctx context.Context) {
	addrs, why := p.resolve(ctx)
	if why != nil {
		p.fail(why)
		return
	}
	client := p.connect(ctx, addrs)
	if client == nil {
		return
	}
	p.opened = append(p.opened, client)
	if p.u.secure() {
		p.certificate(client.PeerCertificates())
	}
	p.nat(ctx)
	if p.u.turn {
		p.turn(ctx, client)
	}
}

// resolve finds the addresses of the URL's host, IPv4 first.
func (p *probe) resolve(ctx context.Context) ([]netip.Addr, *failure) {
	if a, err := netip.ParseAddr(p.u.host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	return lookup(ctx, p.cfg, p.u.host)
}

// lookup resolves a name, IPv4 first.
func lookup(ctx context.Context, cfg *Config, name string) ([]netip.Addr, *failure) {
	step, cancel := context.WithTimeout(ctx, 2*cfg.Patience)
	defer cancel()
	found, err := cfg.Lookup(step, name)
	if err != nil || len(found) == 0 {
		why := "it has no address"
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns) && dns.IsNotFound:
			why = "there is no such name"
		case errors.As(err, &dns) && dns.IsTimeout || errors.Is(err, context.DeadlineExceeded):
			why = "the name server does not answer"
		case errors.As(err, &dns):
			why = dns.Err
		case err != nil:
			why = err.Error()
		}
		return nil, &failure{
			"name", fmt.Sprintf("the name %s does not resolve: %s", name, why),
			"give it an A or AAAA record, or use an address (public.host)",
		}
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	slices.SortFunc(found, func(a, b netip.Addr) int {
		if a.Is4() != b.Is4() {
			if a.Is4() {
				return -1
			}
			return 1
		}
		return a.Compare(b)
	})
	return slices.Compact(found), nil
}

// connect reaches every address of the host, and returns a client of the first that answered; nil if none did.
func (p *probe) connect(ctx context.Context, addrs []netip.Addr) (client *turnclient.Client) {
	var failures []*failure
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, p.u.port)
		start := time.Now()
		c, mapped, why := p.reach(ctx, at)
		if why != nil {
			failures = append(failures, why)
			continue
		}
		detail := fmt.Sprintf("%s answers over %s in %s", at, transportNames[p.u.transport], max(time.Since(start), 100*time.Microsecond).Round(100*time.Microsecond))
		if mapped.IsValid() {
			detail += fmt.Sprintf(" and sees this machine as %s", mapped.Addr())
			p.add(OK, "binding", detail, "")
		} else {
			p.add(Warn, "binding", detail+", but not to Binding", "turn STUN on (coturn: no-stun), or take the stun: URLs out")
		}
		if client == nil {
			client, p.at = c, at
		} else {
			_ = c.Close()
		}
	}
	for _, why := range failures {
		if client == nil {
			p.fail(why)
		} else { // some clients will try this address first
			p.add(Warn, why.check, why.detail, why.remedy+"; or take this address out of the name's records")
		}
	}
	return client
}

func (p *probe) options(at netip.AddrPort) turnclient.Options {
	return turnclient.Options{
		Transport: p.u.transport, Addr: at.String(), Username: p.t.Username, Password: p.t.Password, Timeout: p.cfg.Patience, Queue: 64,
		// The certificate is judged apart, so that what else is wrong is found too.
		TLS: &tls.Config{InsecureSkipVerify: true, ServerName: p.u.name()}, //nolint:gosec // see above
	}
}

// dial connects to one address.
func (p *probe) dial(ctx context.Context, at netip.AddrPort) (*turnclient.Client, *failure) {
	step, cancel := context.WithTimeout(ctx, 2*p.cfg.Patience)
	defer cancel()
	c, err := turnclient.Dial(step, p.options(at))
	if err != nil {
		return nil, p.explainDial(ctx, at, err)
	}
	return c, nil
}

// reach connects to one address and sees whether a STUN server is there. mapped is not valid if it answers other
// requests only. The caller closes the client.
func (p *probe) reach(ctx context.Context, at netip.AddrPort) (_ *turnclient.Client, mapped netip.AddrPort, _ *failure) {
	c, why := p.dial(ctx, at)
	if why != nil {
		return nil, mapped, why
	}
	mapped, err := c.Binding(ctx)
	switch {
	case err == nil:
		return c, mapped, nil
	case turnclient.Code(err) != 0:
		return c, netip.AddrPort{}, nil // it is a STUN server at least
	}
	if p.u.turn && errors.Is(err, turnclient.ErrTimeout) && c.Strange() == nil {
		id := turnclient.NewID()
		ask := stunmsg.Begin(nil, stunmsg.AllocateRequest, id[:]).Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}).Bytes()
		if _, again := c.Exchange(ctx, ask); again == nil {
			return c, netip.AddrPort{}, nil
		}
	}
	strange := c.Strange()
	_ = c.Close()
	return nil, mapped, p.explainSilence(ctx, at, err, strange)
}

// printableStart quotes the first line of what a server sent.
func printableStart(b []byte) string {
	line, _, _ := strings.Cut(string(b), "\n")
	return fmt.Sprintf("%.40q", strings.TrimRight(line, "\r"))
}

package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// listeners asks every TURN listener at an address of this machine. What fails only under the public name is a matter of the
// way to it.
func (l *local) listeners(ctx context.Context) []Finding {
	var n notes
	good, tried := 0, 0
	for _, x := range l.status.Listeners {
		at, ok := l.reachable(x)
		if !ok {
			continue
		}
		tried++
		c, err := l.dial(ctx, x.Transport, at)
		if err == nil {
			_, err = c.Binding(ctx)
			_ = c.Close()
		}
		if err != nil {
			n.add(Fail, "listener", fmt.Sprintf("the %s listener %s does not answer on this machine: %s", transportNames[x.Transport], x.Address, lastOf(err)),
				"look at the server's log and this machine's own firewall; restart the server if nothing is there")
			continue
		}
		good++
	}
	if good == tried && tried > 0 {
		n.add(OK, "listener", fmt.Sprintf("all %d TURN listeners answer on this machine", tried), "")
	}
	for _, want := range l.Listen {
		_, port, err := net.SplitHostPort(want)
		up := err != nil || port == "0" || slices.ContainsFunc(l.status.Listeners, func(x adminapi.Listener) bool {
			return x.Part == "turn" && strings.HasSuffix(x.Address, ":"+port)
		})
		if !up {
			n.add(Fail, "listener", "the configuration has the TURN listener "+want+", but the running server does not", "restart the server: listeners do not change while it runs")
		}
	}
	return n
}

// reachable is where this machine reaches a TURN listener. It is not ok if the machine has no address of its family.
func (l *local) reachable(x adminapi.Listener) (at netip.AddrPort, ok bool) {
	bound, err := netip.ParseAddrPort(x.Address)
	if err != nil || x.Part != "turn" {
		return bound, false
	}
	at, ok = listen.Bound(bound).Nearby()
	return at, ok && at.Addr().Is4() == bound.Addr().Unmap().Is4()
}

func (l *local) dial(ctx context.Context, transport string, at netip.AddrPort) (*turnclient.Client, error) {
	step, cancel := context.WithTimeout(ctx, 2*l.cfg.Patience)
	defer cancel()
	return turnclient.Dial(step, turnclient.Options{
		Transport: transport, Addr: at.String(), Timeout: l.cfg.Patience,
		TLS: &tls.Config{InsecureSkipVerify: true, ServerName: nameOnly(l.status.Public.Host)}, //nolint:gosec // judged apart
	})
}

func nameOnly(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

// public judges the names and addresses that clients are told.
func (l *local) public(ctx context.Context) []Finding {
	var n notes
	var seen []string
	for _, text := range l.status.URLs {
		u, err := parseURL(text)
		if err != nil || slices.Contains(seen, u.host) {
			continue
		}
		seen = append(seen, u.host)
		if u.name() == "" && u.host == l.status.Public.IPv4 && l.saidBefore() {
			continue
		}
		if u.name() == "" {
			l.judgeAddress(&n, netip.MustParseAddr(u.host), "the URLs have")
			continue
		}
		found, why := lookup(ctx, l.cfg, u.host)
		if why != nil {
			n.add(Fail, "public", why.detail+": no client finds the server", why.remedy)
			continue
		}
		l.judgeName(&n, u.host, found)
	}
	for _, text := range []string{l.status.Public.IPv4, l.status.Public.IPv6} {
		if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(seen, text) && !l.saidBefore() {
			l.judgeAddress(&n, a, "relays are told under")
		}
	}
	return n
}

// saidBefore reports whether the server's own warnings are about how far the relayed address reaches.
func (l *local) saidBefore() bool {
	return slices.ContainsFunc(l.status.Warnings, func(w findings.Finding) bool { return w.ID == "public.private" || w.ID == "public.container" })
}

// judgeAddress says how far an address reaches.
func (l *local) judgeAddress(n *notes, a netip.Addr, how string) {
	switch s := scopeOf(a); s {
	case scopePublic:
		detail := fmt.Sprintf("%s the public address %s", how, a)
		if !slices.Contains(l.own, a) {
			detail += ", which this machine does not have: a NAT has to forward to it"
		}
		n.add(OK, "public", detail, "")
	case scopeLoopback:
		n.add(Warn, "public", fmt.Sprintf("%s %s, %s: only clients on this machine can use it", how, a, scopeNames[s]),
			"set public.ipv4 (and public.host) to the address under which clients reach this machine")
	case scopeNone:
		n.add(Fail, "public", fmt.Sprintf("%s %s, %s", how, a, scopeNames[s]), "set public.ipv4 (and public.host) to the address under which clients reach this machine")
	default:
		n.add(Warn, "public", fmt.Sprintf("%s %s, %s: only clients of that network can use it", how, a, scopeNames[s]),
			"for clients elsewhere set public.ipv4 to the router's public address and forward the ports, relay ports too")
	}
}

// judgeName compares what a name resolves to with what this machine and its configuration have.
func (l *local) judgeName(n *notes, name string, found []netip.Addr) {
	var texts []string
	ours := false
	for _, a := range found {
		texts = append(texts, a.String())
		ours = ours || slices.Contains(l.own, a) || a.IsLoopback() || a.String() == l.status.Public.IPv4 || a.String() == l.status.Public.IPv6
	}
	list := strings.Join(texts, ", ")
	if !ours {
		n.add(Warn, "public", fmt.Sprintf("%s resolves to %s, which is no address of this machine, nor the one that relays are told under (%s)",
			name, list, strings.Trim(l.status.Public.IPv4+" "+l.status.Public.IPv6, " ")),
			"correct the DNS record, or public.ipv4; leave it where a load balancer is meant")
		return
	}
	if slices.ContainsFunc(found, func(a netip.Addr) bool { return scopeOf(a) == scopePublic }) {
		n.add(OK, "public", fmt.Sprintf("%s resolves to %s", name, list), "")
		return
	}
	l.judgeAddress(n, found[0], name+" resolves to")
}

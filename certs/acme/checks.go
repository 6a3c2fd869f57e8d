package acme

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// lookupTimeout bounds one question of the DNS.
const lookupTimeout = 5 * time.Second

// Check is something that looks wrong from here. A CA may see it otherwise: a router need not bring a machine back to
// itself, and a private CA may well certify a private address.
type Check struct{ What, Remedy string }

func looksWrong(remedy, format string, args ...any) []Check {
	return []Check{{fmt.Sprintf(format, args...), remedy}}
}

// check looks at names and ports before the CA is asked.
func (c *Client) check(ctx context.Context) {
	var found []Check
	for _, d := range c.cfg.Domains {
		found = append(found, c.checkName(ctx, d)...)
	}
	found = append(found, c.checkPorts()...)
	c.mu.Lock()
	changed := !slices.Equal(c.checks, found)
	c.checks = found
	c.mu.Unlock()
	if changed {
		c.cfg.Changed()
	}
}

// checkName finds out where a name leads.
func (c *Client) checkName(ctx context.Context, domain string) []Check {
	own := slices.DeleteFunc(slices.Clone(c.cfg.Addresses()), private) // behind NAT nobody knows the public one
	if a, err := netip.ParseAddr(domain); err == nil {
		return checkAddress(a, own)
	}
	if strings.HasPrefix(domain, "*.") || !c.reached() {
		return nil // only the DNS has to know it
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", domain)
	if err != nil {
		return looksWrong("publish an A or AAAA record that leads to this server", "%s cannot be found in the DNS from here: %s", domain, last(err))
	}
	var elsewhere []string
	for _, a := range found {
		if a = a.Unmap(); !slices.Contains(own, a) {
			elsewhere = append(elsewhere, a.String())
		}
	}
	if len(elsewhere) == 0 || len(own) == 0 || c.fleet != nil && len(elsewhere) < len(found) { // the others answer for it too
		return nil
	}
	return looksWrong("correct its A and AAAA records, or public.ipv4 and public.ipv6",
		"%s leads to %s, and the address of this server is %s", domain, strings.Join(elsewhere, ", "), listed(own))
}

func private(a netip.Addr) bool { return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() }

func listed(all []netip.Addr) string {
	var text []string
	for _, a := range all {
		text = append(text, a.String())
	}
	return strings.Join(text, " or ")
}

// checkAddress finds addresses that no public CA gives certificates for, and those of others.
func checkAddress(a netip.Addr, own []netip.Addr) []Check {
	switch {
	case private(a):
		return looksWrong("set public.host or certs.acme.domains to a name, or to the public address",
			"%s is a private address, for which no public CA gives a certificate", a)
	case len(own) > 0 && !slices.Contains(own, a):
		return looksWrong("correct certs.acme.domains, or public.ipv4 and public.ipv6", "a certificate for %s is wanted, and the address of this server is %s", a, listed(own))
	}
	return nil
}

// reached reports whether the CA has to reach this server for a challenge.
func (c *Client) reached() bool {
	return slices.Contains(c.cfg.Challenges, TLSALPN01) || slices.Contains(c.cfg.Challenges, HTTP01)
}

// checkPorts finds challenges whose port leads nowhere.
func (c *Client) checkPorts() []Check {
	if ports := c.cfg.Ports(); slices.Contains(c.cfg.Challenges, TLSALPN01) && !slices.Contains(ports, 443) {
		return looksWrong(`add ":443" to turn.listen_tls, or the port that a router maps it to to turn.public_ports`,
			"tls-alpn-01 is asked at port 443, and no TLS listener is reached there")
	}
	return nil
}

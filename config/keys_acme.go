package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

func acmeTable() Table {
	return Table{Name: "certs.acme", Doc: "Certificates from Let's Encrypt, or from another CA that speaks ACME (RFC 8555), renewed by themselves.", Keys: []Key{
		define("certs.acme.enabled", false, boolean(), func(c *Config) *bool { return &c.Certs.ACME.Enabled },
			"Whether to get them. This agrees to the terms of service of the CA. cert_file and key_file must be empty. Until the first is "+
				"there, the self-signed certificate serves, and clients are told no turns: URL."),
		define("certs.acme.domains", none(), atMost(64, distinct(text(certHost))), func(c *Config) *[]string { return &c.Certs.ACME.Domains },
			"Names and addresses, each with a certificate of its own; the one that a client asks for is shown. Empty: public.host. "+
				"A wildcard needs dns-01. An address needs a CA that gives certificates for one: Let's Encrypt does, for six days.").
			example(`["turn.example.org", "203.0.113.7"]`),
		define("certs.acme.email", "", text(email), func(c *Config) *string { return &c.Certs.ACME.Email },
			"Address at which the CA may write about the certificates. Empty: none.").example(`"admin@example.org"`),
		define("certs.acme.directory", "", text(acmeDirectory), func(c *Config) *string { return &c.Certs.ACME.Directory },
			`URL of the CA's directory. Empty: Let's Encrypt. "staging": its test CA, with certificates that no client trusts and no limits that matter.`).
			example(`"https://ca.example.org/acme/directory"`),
		defineFile("certs.acme.ca_file", func(c *Config) *string { return &c.Certs.ACME.CAFile },
			"Roots in PEM that the CA's own HTTPS certificate comes from, if it is a private one. Empty: those of the system."),
		define("certs.acme.challenges", []any{"tls-alpn-01", "http-01"}, distinct(oneOf("tls-alpn-01", "http-01", "dns-01")),
			func(c *Config) *[]string { return &c.Certs.ACME.Challenges },
			"How the CA may check that a name is this server's, in the order in which it is tried. tls-alpn-01: at port 443 of the name, which "+
				"leads to an address in turn.listen_tls. http-01: at port 80, which leads to http_listen. dns-01: by dns_command."),
		define("certs.acme.http_listen", ":80", address(), func(c *Config) *string { return &c.Certs.ACME.HTTPListen },
			"Where http-01 is answered. It is open only while the CA asks, and redirects everybody else to https."),
		definePath("certs.acme.dns_command", "", anything, func(c *Config) *string { return &c.Certs.ACME.DNSCommand },
			"Program for dns-01, called as COMMAND present FQDN VALUE and COMMAND cleanup FQDN VALUE: it adds or removes that TXT record, and "+
				"returns when all servers of the zone have it. It has two minutes, and sees no CROLANG_AIO_ variable.").
			example(`"/usr/local/bin/acme-dns"`),
	}}
}

// email accepts what a CA can write to, or nothing.
func email(s string) error {
	user, host, ok := strings.Cut(s, "@")
	if s != "" && (!ok || user == "" || strings.ContainsAny(s, " ,;<>?&") || isHost(host, false) != nil) {
		return fmt.Errorf("%s must be one address such as admin@example.org", quoted(s))
	}
	return nil
}

// acmeDirectory accepts the URL of a CA. Without TLS only this machine is trusted.
func acmeDirectory(s string) error {
	if s == "" || s == "staging" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "":
		return errors.New(`must be "staging", or a URL such as "https://host/directory"`)
	case u.Scheme == "http" && !localName(u.Hostname()):
		return errors.New("must be https: whoever is on the way could give certificates otherwise")
	}
	return nil
}

// checkACME finds what a CA cannot be asked.
func (l *loader) checkACME() {
	const enabled, cert, domains, challenges, command = "certs.acme.enabled", "certs.cert_file", "certs.acme.domains", "certs.acme.challenges", "certs.acme.dns_command"
	a := l.cfg.Certs.ACME
	if !l.good(enabled) || !a.Enabled {
		return
	}
	if l.good(cert) && l.cfg.Certs.CertFile != "" {
		l.fail(enabled, "", fmt.Errorf("is true, and %s is set: keep one of them", cert), cert)
	}
	if !l.good(challenges) {
		return
	}
	dns := slices.Contains(a.Challenges, "dns-01")
	switch {
	case len(a.Challenges) == 0:
		l.failf(challenges, "must not be empty: name at least one of tls-alpn-01, http-01, dns-01")
		return
	case dns && a.DNSCommand == "" && l.good(command):
		l.fail(command, "", fmt.Errorf("is empty, and %s has dns-01: set it", challenges), challenges)
	case !dns && a.DNSCommand != "" && l.good(command):
		l.fail(command, "", fmt.Errorf("is set, and %s has no dns-01: add it, or leave this empty", challenges), challenges)
	}
	if !l.good(domains) {
		return
	}
	for i, d := range a.Domains {
		_, err := netip.ParseAddr(d)
		at := fmt.Sprintf("[%d]", i)
		switch {
		case strings.HasPrefix(d, "*.") && !dns:
			l.fail(domains, at, fmt.Errorf("entry %d: a wildcard needs dns-01 in %s", i+1, challenges), challenges)
		case err == nil && dns && len(a.Challenges) == 1:
			l.fail(domains, at, fmt.Errorf("entry %d: an address cannot be checked with dns-01: add tls-alpn-01 or http-01 to %s", i+1, challenges), challenges)
		}
	}
}

// Package acme gets certificates from a CA that speaks ACME (RFC 8555), keeps them in a folder, and renews them when the CA
// suggests it (RFC 9773), or in their last third. Each name has a certificate of its own. It stands on certmagic, whose
// background work it does not use: one goroutine asks, with waits of its own that stay within the limits of CAs.
package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
)

// Staging is the word for Let's Encrypt's test CA, in place of a URL.
const Staging = "staging"

// Settings say what is asked of whom.
type Settings struct {
	Domains    []string // names and addresses, at least one; "*.example.org" needs dns-01
	Email      string   // for the CA; may be empty
	Directory  string   // URL; empty: Let's Encrypt; or [Staging]
	CAFile     string   // PEM roots of the CA's own HTTPS; empty: those of the system
	Challenges []string // of tls-alpn-01, http-01 and dns-01, in the order in which they are tried
	HTTPListen string   // where http-01 is answered, while it is asked
	DNSCommand string   // the program for dns-01; empty: none
}

// Surroundings are what a Client is told about the rest of the process. Each may be nil. They are called from any goroutine.
type Surroundings struct {
	Ports     func() []uint16     // those of TLS listeners, as clients reach them
	Addresses func() []netip.Addr // at which clients reach this server
	Dated     func(time.Time)     // takes the time at which the CA says that it answered
	Shared    Shared              // with the machines that answer for the same names; nil: there are none
}

// Pace is how often things happen. The zero value is for CAs on the Internet.
type Pace struct {
	Look  time.Duration // between two looks at a certificate; default 10 min
	Retry time.Duration // the unit of waits after a failure; default 1 min
	Poll  time.Duration // between two looks at an order; default 1 s, and what the CA says
	Hear  time.Duration // between two looks at what the CA will ask the other machines; default 2 s
}

const (
	defaultLook  = 10 * time.Minute
	defaultRetry = time.Minute
	defaultPoll  = time.Second
	defaultHear  = 2 * time.Second
	// attemptTimeout bounds one attempt for one name.
	attemptTimeout = 10 * time.Minute
)

// Config configures a [Client].
type Config struct {
	Settings
	Surroundings
	Pace

	Dir     string       // of accounts and certificates; made, with 0700
	Changed func()       // is called when Certificates or Troubles have changed, from the goroutine of Run; nil: nobody
	Logger  *slog.Logger // nil: none
}

// Certificate is one that the CA has given.
type Certificate struct {
	Domain string
	File   string // that has it
	PEM    []byte // chain and key
	Staple []byte // an answer by OCSP; nil: the CA has none
	leaf   *x509.Certificate
}

// Trouble is what keeps a name from a new certificate.
type Trouble struct {
	Domain string
	Failure
	Next time.Time // when the CA is asked again
}

// Client gets certificates and renews them. Make it with [New], then [Client.Run] it. Its methods may be called from any
// goroutine.
type Client struct {
	cfg    Config
	log    *slog.Logger
	roots  []byte // the content of CAFile
	store  *store
	issuer *issuer
	alpn   *alpn
	web01  *web01
	ledger *ledger
	certs  atomic.Pointer[[]Certificate] // in the order of Domains
	counts counters

	fleet *mates // nil: this machine is alone

	mu       sync.Mutex
	troubles map[string]Trouble
	checks   []Check
}

// New checks cfg, and finds what an earlier process has left. It asks nobody.
func New(cfg Config) (*Client, error) {
	if len(cfg.Domains) == 0 {
		return nil, errors.New("certs.acme.domains is empty, and public.host is not known: name at least one")
	}
	cfg.Look, cfg.Retry = cmp.Or(cfg.Look, defaultLook), cmp.Or(cfg.Retry, defaultRetry)
	cfg.Poll, cfg.Hear = cmp.Or(cfg.Poll, defaultPoll), cmp.Or(cfg.Hear, defaultHear)
	cfg.complete()
	c := &Client{cfg: cfg, log: cfg.Logger, store: newStore(cfg.Dir), alpn: &alpn{}, troubles: map[string]Trouble{}}
	c.web01 = &web01{listen: cfg.HTTPListen, hosts: cfg.Domains}
	var pool *x509.CertPool
	if cfg.CAFile != "" {
		var err error
		if pool, c.roots, err = readRoots(cfg.CAFile); err != nil {
			return nil, fmt.Errorf("certs.acme.ca_file: %w", err)
		}
	}
	c.issuer = &issuer{
		ca: directory(cfg.Directory), email: cfg.Email, web: newWeb(pool, cfg.Dated), store: c.store, challenges: cfg.Challenges, poll: cfg.Poll,
		solvers: map[string]acmez.Solver{TLSALPN01: c.alpn, HTTP01: c.web01},
	}
	if cfg.DNSCommand != "" {
		c.issuer.solvers[DNS01] = byCommand{inPlace(cfg.DNSCommand)}
	}
	if cfg.Shared != nil {
		c.fleet = newMates(c.issuer, cfg)
	}
	c.ledger = openLedger(c.store, c.issuer.IssuerKey(), cfg.Retry)
	c.publish(context.Background(), nil)
	return c, nil
}

func (c *Config) complete() {
	var domains []string
	for _, d := range c.Domains {
		d = strings.ToLower(strings.TrimSuffix(strings.Trim(d, "[]"), "."))
		if a, err := netip.ParseAddr(d); err == nil {
			d = a.Unmap().WithZone("").String()
		}
		if !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	c.Domains = domains
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Ports == nil {
		c.Ports = func() []uint16 { return nil }
	}
	if c.Addresses == nil {
		c.Addresses = func() []netip.Addr { return nil }
	}
	if c.Dated == nil {
		c.Dated = func(time.Time) {}
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
}

func directory(d string) string {
	switch d {
	case "":
		return certmagic.LetsEncryptProductionCA
	case Staging:
		return certmagic.LetsEncryptStagingCA
	}
	return d
}

// Same reports whether other asks the same of the same CA: it need not take c's place.
func (c *Client) Same(other *Client) bool {
	a, b := c.cfg.Settings, other.cfg.Settings
	return slices.Equal(a.Domains, b.Domains) && slices.Equal(a.Challenges, b.Challenges) && a.Email == b.Email && a.Directory == b.Directory &&
		a.HTTPListen == b.HTTPListen && a.DNSCommand == b.DNSCommand && bytes.Equal(c.roots, other.roots)
}

// Certificates are those that are there, in the order of Settings.Domains. They must not be changed.
func (c *Client) Certificates() []Certificate { return *c.certs.Load() }

// Troubles are what keeps names from a new certificate now, in the order of Settings.Domains.
func (c *Client) Troubles() (all []Trouble) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.cfg.Domains {
		if t, ok := c.troubles[d]; ok {
			all = append(all, t)
		}
	}
	return all
}

// Checks are what looked wrong, from here, before the CA was asked. It may be right all the same.
func (c *Client) Checks() []Check {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.checks)
}

// CA is the CA's name for people.
func (c *Client) CA() string { return c.issuer.name() }

// Domains are the names in their canonical form.
func (c *Client) Domains() []string { return slices.Clone(c.cfg.Domains) }

// Answer is the certificate that answers a CA's question by tls-alpn-01 for that server name, if there is one.
func (c *Client) Answer(serverName string) (*tls.Certificate, bool) { return c.alpn.find(serverName) }

// Listening is the address of http_listen while it is open.
func (c *Client) Listening() (netip.AddrPort, bool) {
	at := c.web01.at()
	return at, at.IsValid()
}

// Run gets what is missing and renews what ends, until ctx ends.
func (c *Client) Run(ctx context.Context) {
	var hearing sync.WaitGroup
	defer hearing.Wait()
	if c.fleet != nil {
		hearing.Go(func() { c.fleet.hear(ctx) })
	}
	for ctx.Err() == nil {
		next := time.Now().Add(c.cfg.Look)
		for _, d := range c.cfg.Domains {
			if at := c.look(ctx, d); at.Before(next) {
				next = at
			}
		}
		wait := time.NewTimer(max(time.Until(next), c.cfg.Retry/10))
		select {
		case <-ctx.Done():
		case <-wait.C:
		case <-c.fleet.news():
		}
		wait.Stop()
	}
}

// look sees to the certificate of one name, and returns when to do so again.
func (c *Client) look(ctx context.Context, domain string) time.Time {
	now := time.Now()
	if err := c.store.Keep(); err != nil {
		c.trouble(domain, failed(err, c.CA(), ""), now.Add(c.cfg.Retry))
	}
	c.meet(ctx, domain)
	if at, f := c.ledger.next(domain); at.After(now) {
		if f != nil && !c.troubled(domain) { // of an earlier process
			c.trouble(domain, f, at)
		}
		return at
	}
	before := c.find(domain)
	if before == nil {
		c.check(ctx)
	}
	c.issuer.asked = 0
	t := c.turn(domain)
	defer t.end(ctx)
	err := c.manage(ctx, domain, t)
	if ctx.Err() != nil {
		return now
	}
	if at, wait := t.waiting(); wait {
		return at
	}
	if err != nil {
		f := failed(err, c.CA(), "")
		at := c.ledger.failed(domain, f, c.issuer.asked)
		c.counts.failed(f.Cause)
		c.trouble(domain, f, at)
		return at
	}
	c.ledger.succeeded(domain)
	c.fine(domain)
	return now.Add(c.every(domain))
}

// every is how often the certificate of a name is looked at: some live for minutes.
func (c *Client) every(domain string) time.Duration {
	one := c.find(domain)
	if one == nil {
		return c.cfg.Look
	}
	return min(c.cfg.Look, one.leaf.NotAfter.Sub(one.leaf.NotBefore)/20)
}

// manage has certmagic get or renew the certificate of one name if it is time, and makes it known. It asks the CA only when t
// is this machine's.
func (c *Client) manage(ctx context.Context, domain string, t *turn) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if c.find(domain) == nil {
		c.store.discard(certmagic.StorageKeys.SiteCert(c.issuer.IssuerKey(), domain))
	}
	c.store.lock = func(ctx context.Context) error { return t.take(ctx, cancel) }
	defer func() { c.store.lock = nil }()
	magic, done := c.magic(c.every(domain))
	defer done()
	err := magic.ManageSync(ctx, []string{domain})
	if c.publish(ctx, magic) {
		if err == nil {
			c.counts.obtained.Add(1)
		}
		c.cfg.Changed()
	}
	return err
}

// trouble notes what keeps a name from a certificate.
func (c *Client) trouble(domain string, f *Failure, next time.Time) {
	c.mu.Lock()
	c.troubles[domain] = Trouble{domain, *f, next}
	c.mu.Unlock()
	c.cfg.Changed()
}

func (c *Client) troubled(domain string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.troubles[domain]
	return ok
}

// fine notes that nothing does.
func (c *Client) fine(domain string) {
	c.mu.Lock()
	_, was := c.troubles[domain]
	delete(c.troubles, domain)
	if len(c.troubles) == 0 {
		c.checks = nil
	}
	c.mu.Unlock()
	if was {
		c.cfg.Changed()
	}
}

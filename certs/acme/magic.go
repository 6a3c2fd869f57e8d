package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// errIdle keeps certmagic's background work from doing anything.
var errIdle = errors.New("certificates are looked at by Client.Run alone")

// magic makes a certmagic that remembers nothing: then it looks at what is in the store each time. done ends it.
func (c *Client) magic(every time.Duration) (magic *certmagic.Config, done func()) {
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return nil, errIdle },
		RenewCheckInterval: every, OCSPCheckInterval: attemptTimeout * 2, Logger: zap.NewNop(),
	})
	magic = certmagic.New(cache, certmagic.Config{
		Storage: c.store, Issuers: []certmagic.Issuer{c.issuer}, DisableStorageCheck: true, Logger: zap.NewNop(),
	})
	return magic, cache.Stop
}

// publish makes known what the store has, and reports whether that has changed. With nil no OCSP answer is looked for.
func (c *Client) publish(ctx context.Context, magic *certmagic.Config) (changed bool) {
	var all []Certificate
	for _, d := range c.cfg.Domains {
		file := c.file(d)
		b, err := c.store.whole(file)
		if err != nil {
			continue
		}
		one, ok := certificate(d, file, b)
		if !ok {
			continue
		}
		if magic != nil && len(one.leaf.OCSPServer) > 0 {
			if m, err := magic.CacheManagedCertificate(ctx, d); err == nil {
				one.Staple = m.OCSPStaple
			}
		}
		all = append(all, one)
	}
	if old := c.certs.Load(); old != nil && slices.EqualFunc(*old, all, same) {
		return false
	}
	c.certs.Store(&all)
	return true
}

// file is where the certificate of a name is kept.
func (c *Client) file(domain string) string {
	file, _ := c.store.split(certmagic.StorageKeys.SiteCert(c.issuer.IssuerKey(), domain))
	return file
}

// certificate reads a file, and reports whether it has a whole certificate for the name.
func certificate(domain, file string, b []byte) (Certificate, bool) {
	p := unpack(b)
	pair, err := tls.X509KeyPair(p[chainPart], p[keyPart])
	if err != nil || p[metaPart] == nil || !covers(pair.Leaf, domain) {
		return Certificate{}, false
	}
	return Certificate{Domain: domain, File: file, PEM: slices.Concat(p[chainPart], p[keyPart]), leaf: pair.Leaf}, true
}

func same(a, b Certificate) bool {
	return a.Domain == b.Domain && bytes.Equal(a.PEM, b.PEM) && bytes.Equal(a.Staple, b.Staple)
}

// covers reports whether a certificate is for a name, which may begin with a star.
func covers(c *x509.Certificate, domain string) bool {
	if strings.HasPrefix(domain, "*.") {
		return slices.Contains(c.DNSNames, domain)
	}
	return c.VerifyHostname(domain) == nil
}

// find is the certificate of a name, or nil.
func (c *Client) find(domain string) *Certificate {
	all := c.Certificates()
	if i := slices.IndexFunc(all, func(x Certificate) bool { return x.Domain == domain }); i >= 0 {
		return &all[i]
	}
	return nil
}

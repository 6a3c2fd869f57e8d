package acme

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// shortLived is Let's Encrypt's profile of certificates for a few days, the only ones that it gives for addresses.
const shortLived = "shortlived"

// issuer asks one CA. certmagic's own would open listeners itself, on every address, and write to the standard logger; it
// tries challenges at random too.
type issuer struct {
	ca         string // URL of the directory
	email      string
	web        *web
	store      *store
	challenges []string // in the order in which they are tried
	solvers    map[string]acmez.Solver
	poll       time.Duration // between two looks at an order, where the CA does not say
	shared     Shared        // nil: the account is this machine's alone

	last  string // challenge that has worked
	asked int    // challenges that the CA was told to check, in this Issue
}

// IssuerKey implements [certmagic.Issuer].
func (i *issuer) IssuerKey() string {
	u, err := url.Parse(i.ca)
	if err != nil {
		return certmagic.StorageKeys.Safe(i.ca)
	}
	return certmagic.StorageKeys.Safe(strings.TrimRight(u.Host+strings.ReplaceAll(u.Path, "/", "-"), "-"))
}

// name is the CA's for people.
func (i *issuer) name() string {
	switch i.ca {
	case certmagic.LetsEncryptProductionCA:
		return "Let's Encrypt"
	case certmagic.LetsEncryptStagingCA:
		return "Let's Encrypt (staging)"
	}
	if u, err := url.Parse(i.ca); err == nil && u.Host != "" {
		return u.Host
	}
	return i.ca
}

func (i *issuer) client() *acmez.Client {
	return &acmez.Client{Client: &acme.Client{
		Directory: i.ca, HTTPClient: i.web.client(), UserAgent: "crolang-aio", PollInterval: i.poll, PollTimeout: attemptTimeout,
	}}
}

// Issue implements [certmagic.Issuer]. It makes one attempt with each challenge, in order: certmagic must not try again.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	got, err := i.issue(ctx, csr)
	if err != nil {
		return nil, certmagic.ErrNoRetry{Err: err}
	}
	return got, nil
}

func (i *issuer) issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	i.asked = 0
	i.web.again.Store(0)
	if err := i.store.probe(); err != nil {
		return nil, err
	}
	client := i.client()
	dir, err := client.GetDirectory(ctx)
	if err != nil {
		return nil, i.failed(err, "")
	}
	account, err := i.account(ctx, client)
	if err != nil {
		return nil, err
	}
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, i.failed(err, "")
	}
	if len(csr.IPAddresses) > 0 && dir.Meta != nil {
		if _, ok := dir.Meta.Profiles[shortLived]; ok {
			params.Profile = shortLived
		}
	}
	params.Replaces = i.replaces(ctx, csr, dir)
	chains, err := i.prove(ctx, client, params)
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
}

// prove gets the certificate with the first challenge that works.
func (i *issuer) prove(ctx context.Context, client *acmez.Client, params acmez.OrderParameters) ([]acme.Certificate, error) {
	able := i.able(params.Identifiers[0])
	if len(able) == 0 {
		return nil, newFailure(CauseChallenge, nil, "a wildcard needs dns-01, and an address tls-alpn-01 or http-01",
			"no challenge of certs.acme.challenges is for %s", params.Identifiers[0].Value)
	}
	var wrong []*Failure
	for _, challenge := range able {
		client.ChallengeSolvers = map[string]acmez.Solver{challenge: counted{i.solvers[challenge], &i.asked}}
		before := i.asked
		chains, err := client.ObtainCertificate(ctx, params)
		if err != nil && params.Replaces != nil && i.asked == before { // it may be of another account, or unknown to the CA
			params.Replaces = nil
			chains, err = client.ObtainCertificate(ctx, params)
		}
		if err == nil && len(chains) == 0 {
			err = errors.New("there is no certificate in the answer")
		}
		if err == nil {
			i.last = challenge
			return chains, nil
		}
		var p acme.Problem
		if errors.As(err, &p) && p.Type == acme.ProblemTypeAccountDoesNotExist {
			i.forgetAccount(ctx) // the next attempt makes another
		}
		of := challenge
		if i.asked == before {
			of = "" // the CA has not come to it
		}
		f := i.failed(err, of)
		if f.Cause == CauseInternal && strings.Contains(err.Error(), "no solvers available") {
			f = newFailure(CauseChallenge, err, "choose another one in certs.acme.challenges", "%s does not offer the challenge %s", i.name(), challenge)
		}
		wrong = append(wrong, f)
		if f.Cause != CauseUnproven && f.Cause != CauseChallenge && f.Cause != CauseCommand || ctx.Err() != nil {
			return nil, f
		}
	}
	return nil, joined(wrong)
}

// able are the challenges for an identifier, the one that has worked before first.
func (i *issuer) able(id acme.Identifier) []string {
	all := slices.DeleteFunc(slices.Clone(i.challenges), func(c string) bool {
		return strings.HasPrefix(id.Value, "*.") && c != DNS01 || id.Type == "ip" && c == DNS01 || i.solvers[c] == nil
	})
	slices.SortStableFunc(all, func(a, b string) int {
		switch i.last {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	return all
}

// joined makes one of what went wrong with several challenges.
func joined(all []*Failure) *Failure {
	f := *all[0]
	for _, other := range all[1:] {
		f.What += "; " + other.What
		f.Remedy += ", or " + other.Remedy
		if other.Until.After(f.Until) {
			f.Until = other.Until
		}
	}
	return &f
}

// failed explains err.
func (i *issuer) failed(err error, challenge string) *Failure {
	f := failed(err, i.name(), challenge)
	if again := i.web.again.Load(); again > 0 && (f.Cause == CauseLimited || f.Cause == CauseAway) {
		f.Until = time.Unix(again, 0)
	}
	return f
}

// replaces is the certificate that is there already, if the CA wants to know (RFC 9773 section 5).
func (i *issuer) replaces(ctx context.Context, csr *x509.CertificateRequest, dir acme.Directory) *x509.Certificate {
	if dir.RenewalInfo == "" {
		return nil
	}
	for _, name := range append(slices.Clone(csr.DNSNames), addresses(csr.IPAddresses)...) {
		b, err := i.store.Load(ctx, certmagic.StorageKeys.SiteCert(i.IssuerKey(), name))
		if block, _ := pem.Decode(b); err == nil && block != nil {
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				return c
			}
		}
	}
	return nil
}

func addresses(all []net.IP) (out []string) {
	for _, ip := range all {
		out = append(out, ip.String())
	}
	return out
}

// GetRenewalInfo implements [certmagic.RenewalInfoGetter].
func (i *issuer) GetRenewalInfo(ctx context.Context, c certmagic.Certificate) (acme.RenewalInfo, error) {
	return i.client().GetRenewalInfo(ctx, c.Leaf)
}

// counted counts the challenges that the CA is told to check.
type counted struct {
	acmez.Solver
	n *int
}

// Wait implements [acmez.Waiter]: it comes after Present and before the CA is told.
func (c counted) Wait(ctx context.Context, ch acme.Challenge) error {
	if w, ok := c.Solver.(acmez.Waiter); ok {
		if err := w.Wait(ctx, ch); err != nil {
			return err
		}
	}
	*c.n++
	return nil
}

package acme

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// Cause is why there is no new certificate, for a counter.
type Cause string

// The causes.
const (
	CauseAway      Cause = "away"        // the CA cannot be reached, or does not answer in time
	CauseNoACME    Cause = "no_acme"     // what answers is no ACME server
	CauseRefused   Cause = "refused"     // the CA does not give certificates for this name, or to us
	CauseUnproven  Cause = "unproven"    // the CA did not find the challenge's answer
	CauseCAA       Cause = "caa"         // the DNS does not allow the CA to
	CauseLimited   Cause = "limited"     // the CA has had too many requests
	CauseCommand   Cause = "dns_command" // it failed
	CauseChallenge Cause = "challenge"   // the answer to a challenge cannot be given: a port is taken, no way to prove it
	CauseStore     Cause = "store"       // the disk does not take it
	CauseInternal  Cause = "internal"    // anything else
)

// Causes lists them all.
func Causes() []Cause {
	return []Cause{CauseAway, CauseNoACME, CauseRefused, CauseUnproven, CauseCAA, CauseLimited, CauseCommand, CauseChallenge, CauseStore, CauseInternal}
}

// Failure is why there is no new certificate for a name, in one line: what is wrong, with the CA's own reason, and what to
// do about it.
type Failure struct {
	Cause  Cause
	What   string
	Remedy string
	Until  time.Time // when the CA may be asked again, if it says so
	err    error     // may be nil
}

// Error implements error.
func (f *Failure) Error() string { return f.What + "; " + f.Remedy }

// Unwrap returns what it comes from.
func (f *Failure) Unwrap() error { return f.err }

// newFailure makes one. err is what it comes from, and may be nil.
func newFailure(cause Cause, err error, remedy, format string, args ...any) *Failure {
	return &Failure{Cause: cause, What: fmt.Sprintf(format, args...), Remedy: remedy, err: err}
}

// failed makes a Failure of an error. ca is the CA's name, challenge the one that was tried, if any.
func failed(err error, ca, challenge string) *Failure {
	var known *Failure
	if errors.As(err, &known) {
		return known
	}
	var p acme.Problem
	if errors.As(err, &p) {
		return refused(p, ca, challenge)
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var unresolved *net.DNSError
	var on *net.OpError
	var at *url.Error
	switch {
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &host):
		return newFailure(CauseAway, err, "set certs.acme.ca_file to the root that its HTTPS certificate comes from, and check this machine's clock",
			"the HTTPS certificate of %s is not trusted: %s", ca, last(err))
	case errors.As(err, &unresolved):
		return newFailure(CauseAway, err, "let this machine resolve names: check its name servers (/etc/resolv.conf), then certs.acme.directory",
			"%s cannot be reached, since this machine's DNS gives no address of %s: %s", ca, unresolved.Name, unresolved.Err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &at) && at.Timeout():
		return newFailure(CauseAway, err, "check that this machine can reach it", "%s does not answer in time", ca)
	case errors.As(err, &on), errors.As(err, &at):
		return newFailure(CauseAway, err, "check certs.acme.directory, and that this machine can reach it", "%s cannot be reached: %s", ca, last(err))
	case httpError.MatchString(err.Error()):
		return newFailure(CauseNoACME, err, "check certs.acme.directory", "%s does not answer as an ACME server: %s", ca, last(err))
	}
	return newFailure(CauseInternal, err, "see the documentation of the CA", "asking %s failed: %s", ca, last(err))
}

var httpError = regexp.MustCompile(`HTTP [1-5][0-9][0-9]|JSON-decoding|invalid character|required directory fields|missing newNonce|Content-Type`)

// refused explains a problem document (RFC 7807) of a CA.
func refused(p acme.Problem, ca, challenge string) *Failure {
	for len(p.Subproblems) == 1 && p.Detail == "" {
		p = p.Subproblems[0].Problem
	}
	f := newFailure("", p, "", "%s answers: %s", ca, reason(p))
	if challenge != "" {
		f = newFailure("", p, "", "%s answers to %s: %s", ca, challenge, reason(p))
	}
	switch p.Type {
	case acme.ProblemTypeRateLimited:
		f.Cause, f.Until = CauseLimited, until(p.Detail)
		f.Remedy = "wait; meanwhile try with certs.acme.directory = \"staging\""
	case acme.ProblemTypeConnection:
		f.Cause, f.Remedy = CauseUnproven, opened[challenge]
	case acme.ProblemTypeUnauthorized, acme.ProblemTypeIncorrectResponse, acme.ProblemTypeTLS:
		f.Cause, f.Remedy = CauseUnproven, answered[challenge]
	case acme.ProblemTypeDNS:
		f.Cause, f.Remedy = CauseUnproven, "publish an A or AAAA record of the name that leads to this server"
		if challenge == DNS01 {
			f.Remedy = answered[DNS01]
		}
	case acme.ProblemTypeCAA:
		f.Cause, f.Remedy = CauseCAA, "add a CAA record of the name that allows this CA, or choose another in certs.acme.directory"
	case acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier:
		f.Cause, f.Remedy = CauseRefused, "choose another name in certs.acme.domains, or another CA in certs.acme.directory"
	case acme.ProblemTypeInvalidContact, acme.ProblemTypeUnsupportedContact:
		f.Cause, f.Remedy = CauseRefused, "correct certs.acme.email, or leave it empty"
	case acme.ProblemTypeExternalAccountRequired, acme.ProblemTypeUserActionRequired:
		f.Cause, f.Remedy = CauseRefused, "choose a CA in certs.acme.directory that needs no agreement beforehand"
	case acme.ProblemTypeServerInternal:
		f.Cause, f.Remedy = CauseAway, "wait: that is the CA's own trouble"
	default:
		f.Cause, f.Remedy = CauseRefused, "see the documentation of the CA"
		if challenge != "" {
			f.Cause, f.Remedy = CauseUnproven, cmp.Or(opened[challenge], answered[challenge])
		}
	}
	if f.Remedy == "" {
		f.Remedy = "check that the name leads to this server"
	}
	return f
}

// opened is what to do where the CA reaches nothing, by challenge.
var opened = map[string]string{
	TLSALPN01: "let port 443 of the name reach a TLS listener of this server, through every firewall and router",
	HTTP01:    "let port 80 of the name reach certs.acme.http_listen, through every firewall and router",
}

// answered is what to do where the CA reaches something else.
var answered = map[string]string{
	TLSALPN01: "another server answers at port 443: let every A and AAAA record of the name lead to this one, or use dns-01",
	HTTP01:    "another server answers at port 80: let every A and AAAA record of the name lead to this one, or use dns-01",
	DNS01:     "check that certs.acme.dns_command publishes the TXT record, and returns no sooner than it can be seen everywhere",
}

// reason is a CA's own words, and those about single names.
func reason(p acme.Problem) string {
	text := p.Detail
	if text == "" {
		text = strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace)
	}
	for _, s := range p.Subproblems {
		text += ", " + s.Identifier.Value + ": " + s.Detail
	}
	return oneLine(text)
}

var retryAfter = regexp.MustCompile(`retry after (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)`)

// until finds the time in what Let's Encrypt says of its limits.
func until(detail string) time.Time {
	m := retryAfter.FindStringSubmatch(detail)
	if m == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.DateTime, strings.Replace(m[1], "T", " ", 1))
	if err != nil {
		return time.Time{}
	}
	return t
}

// last is the innermost error in one line: those around it name URLs, of which the CA's name is enough.
func last(err error) string {
	for {
		var at *url.Error
		if errors.As(err, &at) && at.Err != nil {
			err = at.Err
			continue
		}
		return oneLine(err.Error())
	}
}

// longest is how much of what a CA, or a command, says is repeated.
const longest = 400

// oneLine makes one printable line of a text that others wrote.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimRight(strings.Join(strings.Fields(s), " "), ". ")
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}

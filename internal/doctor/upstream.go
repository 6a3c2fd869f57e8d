package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// Upstream is a URL that the server calls. It may hold a password, and is not shown.
type Upstream struct{ Key, URL string }

// upstreams checks that what the server calls can be reached from this machine. No question is asked: any answer of HTTP
// will do.
func (l *local) upstreams(ctx context.Context) []Finding {
	var n notes
	for _, u := range l.Upstreams {
		at, err := url.Parse(u.URL)
		if err != nil {
			n.add(Fail, "upstream", u.Key+" is no URL", "correct it")
			continue
		}
		name := at.Scheme + "://" + at.Host
		if why := l.reachUpstream(ctx, u.URL); why != nil {
			n.add(Fail, "upstream", fmt.Sprintf("%s cannot be reached at %s: %s", u.Key, name, why.detail), why.remedy)
			continue
		}
		n.add(OK, "upstream", fmt.Sprintf("%s answers at %s", u.Key, name), "")
	}
	return n
}

// reachUpstream asks for nothing but an answer, and takes the way that the server takes.
func (l *local) reachUpstream(ctx context.Context, address string) *failure {
	step, cancel := context.WithTimeout(ctx, 2*l.cfg.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(step, http.MethodHead, address, http.NoBody)
	if err != nil {
		return &failure{detail: "it is no URL of HTTP", remedy: "correct it"}
	}
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: l.cfg.Roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err == nil {
		_ = res.Body.Close()
		return nil
	}
	return explainUpstream(err)
}

func explainUpstream(err error) *failure {
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	var host x509.HostnameError
	switch {
	case errors.As(err, &name):
		return &failure{detail: "its name does not resolve", remedy: "correct the name, or its record in the DNS"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{detail: "nothing listens there: refused", remedy: "start your own webhook, or correct the URL"}
	case errors.As(err, &cert), errors.As(err, &host):
		return &failure{detail: "its certificate is not accepted: " + lastOf(err), remedy: "give it one that this machine trusts, for the name in the URL"}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{detail: "no answer", remedy: "look at its log; open the port in every firewall on the way"}
	case errors.Is(err, io.EOF):
		return &failure{detail: "it ends the connection without an answer", remedy: "check that it speaks HTTP there, or HTTPS: the URL says which"}
	}
	return &failure{detail: lastOf(err), remedy: "look at its log, and check the URL"}
}

package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// The challenges (RFC 8555 section 8, RFC 8737).
const (
	TLSALPN01 = acme.ChallengeTypeTLSALPN01
	HTTP01    = acme.ChallengeTypeHTTP01
	DNS01     = acme.ChallengeTypeDNS01
)

// Protocol is the ALPN name by which a CA asks for the answer to tls-alpn-01.
const Protocol = acmez.ACMETLS1Protocol

// alpn has the certificates that answer tls-alpn-01, by the server name that the CA asks for.
type alpn struct {
	mu sync.Mutex
	by map[string]*tls.Certificate
}

func (a *alpn) find(name string) (*tls.Certificate, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.by[strings.ToLower(strings.TrimSuffix(name, "."))]
	return c, ok
}

// Present implements [acmez.Solver].
func (a *alpn) Present(_ context.Context, c acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(c)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[string]*tls.Certificate{}
	}
	a.by[serverName(c)] = cert
	return nil
}

// CleanUp implements [acmez.Solver].
func (a *alpn) CleanUp(_ context.Context, c acme.Challenge) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, serverName(c))
	return nil
}

// serverName is that with which the CA asks: of an address it is the reverse name (RFC 8738 section 6).
func serverName(c acme.Challenge) string {
	a, err := netip.ParseAddr(c.Identifier.Value)
	if err != nil {
		return strings.ToLower(c.Identifier.Value)
	}
	var b strings.Builder
	if a.Is4() {
		for _, octet := range slices.Backward(a.AsSlice()) {
			fmt.Fprintf(&b, "%d.", octet)
		}
		return b.String() + "in-addr.arpa"
	}
	for _, octet := range slices.Backward(a.AsSlice()) {
		fmt.Fprintf(&b, "%x.%x.", octet&15, octet>>4)
	}
	return b.String() + "ip6.arpa"
}

const (
	challengePath = "/.well-known/acme-challenge/"
	// webTimeout bounds how long a stranger at http_listen takes to send a request, and to take the answer.
	webTimeout = 2 * time.Second
	// webConnections bounds how many there are at once.
	webConnections = 256
)

// web01 answers http-01. It listens from the first Present to the last CleanUp.
type web01 struct {
	listen string
	hosts  []string // that a redirect may lead to; the first is the default
	// patience replaces webTimeout in tests, if it is not 0.
	patience time.Duration

	mu      sync.Mutex
	answers map[string]string // by path
	server  *http.Server
	addr    netip.AddrPort
	served  sync.WaitGroup
}

// at is the address while it listens.
func (w *web01) at() netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addr
}

// Present implements [acmez.Solver].
func (w *web01) Present(ctx context.Context, c acme.Challenge) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server == nil {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.listen)
		if err != nil {
			return newFailure(CauseChallenge, err, "free the port, give the right to bind it (CAP_NET_BIND_SERVICE), or use another challenge",
				"certs.acme.http_listen cannot be bound: %s", last(err))
		}
		w.addr = l.Addr().(*net.TCPAddr).AddrPort()
		patience := cmp.Or(w.patience, webTimeout)
		w.server = &http.Server{
			Handler: w, ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, MaxHeaderBytes: 8 << 10,
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		}
		w.server.SetKeepAlivesEnabled(false)
		w.answers = map[string]string{}
		server := w.server
		w.served.Go(func() { _ = server.Serve(newFew(l, webConnections)) }) // till Close
	}
	w.answers[challengePath+c.Token] = c.KeyAuthorization
	return nil
}

// CleanUp implements [acmez.Solver].
func (w *web01) CleanUp(_ context.Context, c acme.Challenge) error {
	w.mu.Lock()
	delete(w.answers, challengePath+c.Token)
	server := w.server
	if len(w.answers) > 0 || server == nil {
		w.mu.Unlock()
		return nil
	}
	w.server, w.addr = nil, netip.AddrPort{}
	err := server.Close() // before another Present would bind the port
	w.mu.Unlock()
	w.served.Wait()
	return err
}

// ServeHTTP implements [http.Handler].
func (w *web01) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	answer, ok := w.answers[r.URL.Path]
	w.mu.Unlock()
	if ok && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		to.Header().Set("Content-Type", "application/octet-stream")
		_, _ = to.Write([]byte(answer)) // who has gone needs none
		return
	}
	host := strings.ToLower(strings.TrimSuffix(r.Host, "."))
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	path := "/" + strings.TrimPrefix(r.URL.EscapedPath(), "/")
	http.Redirect(to, r, "https://"+bracketed(w.ours(strings.Trim(host, "[]")))+path, http.StatusPermanentRedirect) //nolint:gosec // only to hosts of ours
}

// ours is host, or the default if that is none of ours.
func (w *web01) ours(host string) string {
	for _, h := range w.hosts {
		if h == host || strings.HasPrefix(h, "*.") && strings.HasSuffix(host, h[1:]) && isName(host) {
			return host
		}
	}
	return strings.TrimPrefix(w.hosts[0], "*.")
}

func isName(s string) bool { return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" }

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// byCommand answers dns-01 by a command.
type byCommand struct{ program string }

// Present implements [acmez.Solver].
func (b byCommand) Present(ctx context.Context, c acme.Challenge) error {
	return b.run(ctx, "present", c, presentTimeout)
}

// CleanUp implements [acmez.Solver].
func (b byCommand) CleanUp(ctx context.Context, c acme.Challenge) error {
	return b.run(context.WithoutCancel(ctx), "cleanup", c, cleanupTimeout)
}

func (b byCommand) run(ctx context.Context, what string, c acme.Challenge, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	said, err := run(ctx, b.program, what, c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	if err == nil {
		return nil
	}
	remedy := "run it by hand: " + b.program + " present _acme-challenge.NAME VALUE"
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return newFailure(CauseCommand, err, remedy, "certs.acme.dns_command %s did not end within %s, and was killed", what, limit)
	case said != "":
		return newFailure(CauseCommand, err, remedy, "certs.acme.dns_command %s failed: %s: %s", what, last(err), oneLine(said))
	}
	return newFailure(CauseCommand, err, remedy, "certs.acme.dns_command %s failed: %s", what, last(err))
}

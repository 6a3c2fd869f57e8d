package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// probes are what each part answers to somebody without a token, and by which it is known.
var probes = map[string]struct {
	method, path string
	status       int
	says         string
}{
	"broker": {http.MethodGet, "/socket.io/?EIO=4&transport=polling", http.StatusBadRequest, "Transport unknown"},
	"hooks":  {http.MethodPost, "/resolve-rtc-configuration", http.StatusUnauthorized, ""},
	"admin":  {http.MethodGet, "/healthz", http.StatusOK, ""},
	"test":   {http.MethodGet, "/try", http.StatusOK, "<title>Connection test</title>"},
}

// web asks what is served over HTTPS at the TLS ports, at an address of this machine. The certificate is judged elsewhere.
func (l *local) web(ctx context.Context) []Finding {
	var n notes
	for _, w := range l.status.HTTPS {
		p, ok := probes[w.Part]
		at, up := l.webPort(w)
		if !ok || !up {
			continue
		}
		status, body, err := l.ask(ctx, at, p.method, strings.TrimRight(w.URL, "/")+p.path)
		switch {
		case err != nil:
			n.add(Fail, "https", fmt.Sprintf("%s (%s) does not answer on this machine: %s", w.URL, w.Part, lastOf(err)),
				"look at the server's log; what is in front of it must leave TLS as it is, or speak PROXY protocol (turn.proxy_protocol)")
		case status != p.status || !strings.Contains(body, p.says):
			n.add(Fail, "https", fmt.Sprintf("%s (%s) answers with status %d, where %d was to come", w.URL, w.Part, status, p.status),
				"look at what is in front of the server; restart the server after a change of https.serve")
		default:
			n.add(OK, "https", fmt.Sprintf("%s answers on this machine (%s)", w.URL, w.Part), "")
		}
	}
	return n
}

// webPort is where this machine reaches the port that a URL stands for: the one with its number, else any.
func (l *local) webPort(w adminapi.Web) (best netip.AddrPort, ok bool) {
	u, err := url.Parse(w.URL)
	if err != nil {
		return best, false
	}
	for _, x := range l.status.Listeners {
		at, is := l.reachable(x)
		if !is || x.Transport != "tls" || ok && fmt.Sprint(at.Port()) != u.Port() {
			continue
		}
		best, ok = at, true
	}
	return best, ok
}

// ask makes a request over TLS to an address.
func (l *local) ask(ctx context.Context, at netip.AddrPort, method, target string) (status int, body string, err error) {
	step, cancel := context.WithTimeout(ctx, 2*l.cfg.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(step, method, target, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("User-Agent", nodeid.DoctorAgent)
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it is looked at elsewhere; nothing secret is sent
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, at.String())
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	return res.StatusCode, string(data), err
}

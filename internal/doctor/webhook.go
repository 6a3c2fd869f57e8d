package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// iceServer is an entry of an RTC configuration. Its credential is a secret.
type iceServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// answer is what the webhook said.
type answer struct {
	status  int
	date    time.Time // of the header; zero: there was none
	servers []iceServer
}

var errNotOurs = errors.New("what answers there is not this program's webhooks")

// resolve asks the webhook for a Node's RTC configuration, as a Broker does.
func (l *local) resolve(ctx context.Context, node, token string) (a answer, err error) {
	step, cancel := context.WithTimeout(ctx, 2*l.cfg.Patience)
	defer cancel()
	body, err := json.Marshal(map[string]string{"nodeId": node})
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(step, http.MethodPost, l.HooksURL+"/resolve-rtc-configuration", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", nodeid.DoctorAgent)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer func() { _ = res.Body.Close() }()
	a.status = res.StatusCode
	a.date, _ = http.ParseTime(res.Header.Get("Date"))
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || a.status != http.StatusOK {
		return a, err
	}
	var conf struct {
		RTC struct {
			Servers []iceServer `json:"iceServers"`
		} `json:"rtcConfiguration"`
	}
	if json.Unmarshal(data, &conf) != nil || len(conf.RTC.Servers) == 0 {
		return a, errNotOurs
	}
	a.servers = conf.RTC.Servers
	return a, nil
}

// ofSecret reports whether a credential was made with the secret of the configuration, as far as that is at hand.
func (l *local) ofSecret(s iceServer) bool {
	keys, err := credential.NewKeyring(l.Secret, nil)
	if l.Secret == "" || err != nil {
		return true
	}
	given := credential.Key(s.Username, l.Realm, s.Credential)
	_, ok := keys.Match(s.Username, l.Realm, credential.MD5, func(key []byte) bool { return bytes.Equal(key, given[:]) })
	return ok
}

// mostURLs is how many URLs are tried.
const mostURLs = 64

// targets asks the webhooks what clients are told: each URL, with a credential of a Node of its own, so that the limit of
// allocations of one Node does not stand in the way.
func (l *local) targets(ctx context.Context) (out []Target, n notes) {
	if l.HooksURL == "" {
		return nil, nil
	}
	first, err := l.resolve(ctx, l.node, l.HooksToken)
	if ctx.Err() != nil {
		return nil, notes{unfinished(ctx, "")}
	}
	if l.judgeAnswer(&n, first, err); len(first.servers) == 0 {
		return nil, n
	}
	l.withoutToken(ctx, &n)
	if l.status == nil && !first.date.IsZero() {
		l.clock(&n, first.date, l.cfg.Now())
	}
	l.served = first.servers
	l.judgeCredential(&n)
	if all := urlsOf(first.servers); all > mostURLs {
		n.add(Warn, "webhooks", fmt.Sprintf("clients are told %d URLs, of which the first %d are tried", all, mostURLs),
			"tell fewer: a browser warns of more than 4 (hooks.rtc.extra_ice_servers)")
	}
	for i, s := range first.servers {
		for j, url := range s.URLs {
			if len(out) == mostURLs {
				return out, n
			}
			t := Target{url, s.Username, s.Credential}
			if u, err := parseURL(url); err == nil && u.turn && l.Node == "" && i+j > 0 {
				t = l.another(ctx, t, i, j)
			}
			out = append(out, t)
		}
	}
	return out, n
}

// another asks for a credential of a further Node for the URL at place i, j. If that fails, the first one has to do.
func (l *local) another(ctx context.Context, t Target, i, j int) Target {
	l.asked++
	a, err := l.resolve(ctx, fmt.Sprintf("%s-%d", l.node, l.asked), l.HooksToken)
	if err == nil && i < len(a.servers) && j < len(a.servers[i].URLs) && a.servers[i].URLs[j] == t.URL {
		t.Username, t.Password = a.servers[i].Username, a.servers[i].Credential
	}
	return t
}

func (l *local) judgeAnswer(n *notes, a answer, err error) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		n.add(Fail, "webhooks", "nothing listens on "+l.HooksURL+" (hooks.listen): refused", "start the server, or give doctor the configuration that it runs with")
	case err != nil:
		n.add(Fail, "webhooks", "the webhooks at "+l.HooksURL+" do not answer as they should: "+lastOf(err), "check hooks.listen, and look at the server's log")
	case a.status == http.StatusUnauthorized:
		n.add(Fail, "webhooks", "the webhooks at "+l.HooksURL+" refuse the token (401), and so they refuse the Broker",
			"restart the server after a change of hooks.token, and give the Broker the lines of `crolang-aio broker-env`")
	case a.status == http.StatusForbidden:
		n.add(Fail, "webhooks", "the Node is banned: the webhooks give it no RTC configuration (403)", "`crolang-aio why NODE` says why; `crolang-aio unban NODE` lets it in again")
	case a.status == http.StatusInternalServerError && l.status != nil && len(l.status.URLs) == 0:
		n.add(Fail, "webhooks", "there is no URL that clients could be told, so the webhooks give no RTC configuration (500), and Brokers let nobody in", nothingTold)
	case a.status != http.StatusOK:
		n.add(Fail, "webhooks", fmt.Sprintf("the webhooks at %s answer with status %d", l.HooksURL, a.status), "look at the server's log")
	default:
		n.add(OK, "webhooks", fmt.Sprintf("%s gives an RTC configuration with %s", l.HooksURL, plural.Of(urlsOf(a.servers), "URL")), "")
	}
}

// nothingTold is the remedy if clients are told of no listener.
const nothingTold = "add udp or tcp to turn.transports and an address to turn.listen; TLS and DTLS are told where the certificate is one that clients accept, " +
	"or with hooks.rtc.advertise_tls = \"always\""

func urlsOf(servers []iceServer) (n int) {
	for _, s := range servers {
		n += len(s.URLs)
	}
	return n
}

// withoutToken checks that the webhooks ask for the token, if there is one.
func (l *local) withoutToken(ctx context.Context, n *notes) {
	if l.HooksToken == "" {
		n.add(OK, "token", "the webhooks ask for no token", "")
		return
	}
	a, err := l.resolve(ctx, l.node, "")
	switch {
	case err != nil && len(a.servers) == 0 && a.status == 0:
		n.add(Warn, "token", "a call without a token had no answer: "+lastOf(err), "run doctor again")
	case a.status == http.StatusUnauthorized:
		n.add(OK, "token", "the webhooks refuse calls without the token (401)", "")
	default:
		n.add(Fail, "token", "the webhooks give credentials to callers without the token, too",
			"restart the server after setting hooks.token, or take hooks.allow_no_token out")
	}
}

// judgeCredential compares the end of the credential with this clock.
func (l *local) judgeCredential(n *notes) {
	for _, s := range l.served {
		name, err := credential.Parse(s.Username)
		if err != nil {
			continue // of hooks.rtc.extra_ice_servers
		}
		left := name.Expires.Sub(l.cfg.Now())
		switch {
		case !l.ofSecret(s):
			n.add(Fail, "credential", "the running server makes credentials with another secret than this configuration has",
				"restart the server after a change of credentials.secret, or give doctor the configuration and data_dir that it runs with")
		case left <= 0:
			n.add(Fail, "credential", fmt.Sprintf("the credential that the webhook just gave expired %s ago by this clock", days(-left)),
				"set the clocks of this machine and the server by NTP, or raise credentials.ttl")
		case left < time.Minute:
			n.add(Warn, "credential", fmt.Sprintf("credentials last %s only", days(left)), "raise credentials.ttl: a Node is given its credential once")
		default:
			n.add(OK, "credential", fmt.Sprintf("credentials last %s", days(left+time.Minute/2)), "")
		}
		return
	}
	n.add(Fail, "credential", "clients are told no TURN URL of this server, and so given no credential: they cannot relay", nothingTold)
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// Local is a server of this program whose configuration is at hand. Its tokens and passwords are secrets.
type Local struct {
	Admin    *adminapi.Client // nil: it cannot be asked; Problems says why
	AdminURL string           // where Admin asks, for texts

	HooksURL   string // of the webhooks, such as http://127.0.0.1:8083
	HooksToken string // empty: none is asked for

	Redis         string   // host:port; empty: it is off
	RedisPassword string   // empty: none is asked for
	STUN          []string // public.stun
	FleetRedis    string   // URL of the one that machines share; a secret; empty: this machine is alone

	Realm    string
	Listen   []string // TURN listeners of the configuration
	PortMin  uint16   // relay ports of the configuration
	PortMax  uint16
	DataDir  string
	CertFile string // the operator's certificate, or the file that a self-signed one is kept in
	KeyFile  string // the operator's key; empty if the certificate is not the operator's

	Secret    string     // of credentials; empty: it is not at hand
	Upstreams []Upstream // what the server calls

	// Node asks for the credential of this Node. Empty: throw-away ids.
	Node string
	// Problems are findings of the caller, such as a secret that cannot be read.
	Problems []Finding

	status *adminapi.Status // nil: unknown
	own    []netip.Addr     // of this machine
}

// local looks at the server of this machine.
type local struct {
	*Local
	cfg    *Config
	node   string      // whose credential is asked for
	asked  int         // further ones that were
	served []iceServer // what clients are told
}

// notes collects findings.
type notes []Finding

func (n *notes) add(status Status, check, detail, remedy string) {
	*n = append(*n, Finding{Check: check, Status: status, Detail: detail, Remedy: remedy})
}

// runLocal looks at all that is not a URL, and returns the URLs that clients are told, each with a credential of its own.
func runLocal(ctx context.Context, cfg *Config, emit func(Finding)) []Target {
	l := &local{Local: cfg.Local, cfg: cfg, node: cfg.Local.Node}
	l.own, _ = publicaddr.Local() // without them an address of this machine is judged as another's
	if l.node == "" {
		l.node = nodeid.Doctor(l.Secret, cfg.Now())
	}
	for _, f := range l.Problems {
		emit(f)
	}
	for _, f := range l.server(ctx) {
		emit(f)
	}
	targets, found := l.targets(ctx)
	for _, f := range found {
		emit(f)
	}
	more, found := l.machines(ctx, targets)
	for _, f := range found {
		emit(f)
	}
	targets = append(targets, more...)
	sections := []section{l.fleetRedis, l.certificateFiles, l.natHere, l.upstreams, l.files}
	if l.status != nil {
		sections = []section{l.nodes, l.listeners, l.web, l.certificate, l.public, l.natHere, l.relayPorts, l.redis, l.fleetRedis, l.upstreams, l.files}
	}
	for i, s := range sections {
		sections[i] = func(ctx context.Context) []Finding {
			out := s(ctx)
			if ctx.Err() != nil {
				out = []Finding{unfinished(ctx, "")}
			}
			return out
		}
	}
	inOrder(ctx, cfg.Parallel, sections, emit)
	return targets
}

// server asks the admin API how the server is.
func (l *local) server(ctx context.Context) (n notes) {
	if l.Admin == nil {
		return nil
	}
	step, cancel := context.WithTimeout(ctx, 2*l.cfg.Patience)
	defer cancel()
	start := l.cfg.Now()
	s, err := l.Admin.Status(step)
	took := l.cfg.Now().Sub(start)
	switch {
	case ctx.Err() != nil:
		return notes{unfinished(ctx, "")}
	case errors.Is(err, adminapi.ErrUnreachable):
		n.add(Fail, "server", "no server answers at "+l.AdminURL+" (admin.listen)",
			"start it with `crolang-aio serve`, look at its log, and give doctor the configuration that it runs with")
		return n
	case errors.Is(err, adminapi.ErrUnauthorized):
		n.add(Fail, "server", "the server at "+l.AdminURL+" refuses the admin token (401)",
			"run doctor with the configuration and data_dir of the running server, or restart that one after a change of admin.token")
		return n
	case err != nil:
		n.add(Fail, "server", "the admin API at "+l.AdminURL+" does not answer as it should: "+err.Error(), "check admin.listen, and look at the server's log")
		return n
	}
	l.status = &s
	n.add(OK, "server", fmt.Sprintf("crolang-aio %s runs since %s (%s)", s.Version, s.Started.UTC().Format("2006-01-02 15:04 UTC"), l.AdminURL), "")
	switch {
	case s.Draining || slices.Contains(s.NotReady, "draining"):
		detail := "the server is draining: it ends when its allocations have, and takes no new ones"
		if d := s.Drain; d != nil {
			detail += fmt.Sprintf("; %s left, %.0f s at most", plural.Of(d.Allocations, "allocation"), d.SecondsLeft)
		}
		n.add(Fail, "ready", detail, "wait for its end and start it again")
	case len(s.NotReady) > 0:
		n.add(Fail, "ready", "the server is not ready: "+strings.Join(s.NotReady, ", "), "wait a moment; if it stays, look at its log")
	default:
		n.add(OK, "ready", "it is ready", "")
	}
	offloaded(&n, s.Offload)
	l.clock(&n, s.Now, start.Add(took/2))
	l.broker(&n, s)
	for _, w := range s.Warnings {
		switch id, about, _ := strings.Cut(w.ID, "."); {
		case w.ID == "public.host": // looked up anew by public
		case id == "certificate" && slices.Contains([]string{"expired", "early", "names", "usage"}, about) && l.showsCertificate():
			// looked at anew by certificate
		case id == "certificate" && slices.Contains([]string{"unusable", "kept"}, about):
			n.add(Fail, "certificate", w.Detail, w.Remedy)
		case id == "public" || id == "certificate":
			n.add(Warn, id, w.Detail, w.Remedy)
		default:
			n.add(Warn, "warning", w.Detail, w.Remedy)
		}
	}
	return n
}

// clock compares the server's clock with this one.
func (l *local) clock(n *notes, server, own time.Time) {
	skew := server.Sub(own)
	detail := fmt.Sprintf("the server's clock is %s of this one", aheadOrBehind(skew))
	const remedy = "set the clock of this machine and the server's by NTP: credentials and certificates end by them"
	switch abs := skew.Abs(); {
	case abs >= time.Minute:
		n.add(Fail, "clock", detail, remedy)
	case abs >= 5*time.Second:
		n.add(Warn, "clock", detail, remedy)
	default:
		n.add(OK, "clock", "the server's clock and this one agree", "")
	}
}

// onlyHere reports whether the Broker listens on loopback, though the server is meant for other machines: its public address is
// a name, or one of the internet.
func onlyHere(s adminapi.Status) bool {
	u, err := url.Parse(s.NodesURL)
	overTLS := slices.ContainsFunc(s.HTTPS, func(w adminapi.Web) bool { return w.Part == "broker" })
	if err != nil || overTLS || !isLoopback(u.Hostname()) || s.Public.Host == "" || isLoopback(s.Public.Host) {
		return false
	}
	ip, err := netip.ParseAddr(s.Public.Host)
	return err != nil || ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// isLoopback reports whether a host is this machine alone.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// broker says when a Broker was last heard of.
func (l *local) broker(n *notes, s adminapi.Status) {
	const remedy = "give the Broker the lines of `crolang-aio broker-env`, and look at its log for errors of its webhooks"
	switch ago := s.Now.Sub(s.BrokerSeen); {
	case onlyHere(s):
		n.add(Warn, "broker", "only Nodes on this machine reach the Broker: it listens on loopback, and clients are told "+s.Public.Host,
			`https.serve = ["broker"], or broker.listen beyond loopback, with a policy in hooks.authenticate.mode`)
	case s.NodesURL != "" && s.BrokerSeen.IsZero():
		n.add(OK, "broker", "Nodes connect to "+s.NodesURL+", the Broker in the server's process", "")
	case s.BrokerSeen.IsZero():
		n.add(Warn, "broker", fmt.Sprintf("no Broker has called the webhooks since the start %s ago", days(s.Now.Sub(s.Started))), remedy)
	case ago > 5*time.Minute:
		n.add(Warn, "broker", fmt.Sprintf("no Broker has called the webhooks for %s", days(ago)), remedy+"; a Broker without Nodes has nothing to ask")
	default:
		n.add(OK, "broker", fmt.Sprintf("a Broker called the webhooks %s ago", days(max(ago, 0))), "")
	}
}

// explain says what only the server itself knows of an error answer.
func (l *Local) explain(ctx context.Context, code int, username string) (explanation, bool) {
	s := l.status
	if s == nil {
		return explanation{}, false
	}
	limit := func(key string) string { return fmt.Sprintf("%s is %d", key, s.Limits[key]) }
	switch {
	case code == 508 && s.Draining:
		return explanation{"the server is draining and takes no new allocations (508)", "wait for its end and start it again"}, true
	case code == 508 && s.Limits["turn.limits.allocations"] > 0:
		return explanation{
			"it has no capacity left (508): " + limit("turn.limits.allocations"),
			"raise it, widen turn.relay_ports, or see who holds them: `crolang-aio allocations`",
		}, true
	case code == 486 && s.Limits["turn.limits.allocations_per_node"] > 0:
		return explanation{
			"the quota of allocations of this Node is used up (486): " + limit("turn.limits.allocations_per_node"),
			"raise it (a browser takes one per URL and network), or see who holds them: `crolang-aio allocations`",
		}, true
	case code != 401:
		return explanation{}, false
	}
	return l.explain401(ctx, username)
}

// explain401 asks the server's own record of the Node.
func (l *Local) explain401(ctx context.Context, username string) (explanation, bool) {
	name, err := credential.Parse(username)
	if err != nil {
		return explanation{}, false
	}
	record, err := l.Admin.Node(ctx, name.Node)
	switch {
	case err != nil:
		return explanation{}, false
	case record.Banned:
		return explanation{"it refuses the credential (401): the Node is banned", "`crolang-aio unban NODE`, if it is to come in again"}, true
	}
	for _, e := range slices.Backward(record.Events) {
		if e.Kind == nodes.KindRefused {
			return explanation{"it refuses the credential (401): " + e.Detail, "see `crolang-aio why NODE`; check the clock and credentials.ttl"}, true
		}
	}
	return explanation{}, false
}

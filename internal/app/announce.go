package app

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/brokerenv"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
	"github.com/crolang-p2p/crolang-aio/internal/version"
)

// announce begins with what a person needs first. It writes what [App.Announce] says to w, or to log if nobody reads w as it is.
func (r *reporter) announce(log *logging.Logger, w io.Writer, file string) {
	urls := r.told.load().all()
	env := r.brokerEnv()
	lines := env.Lines()
	if env.HasSecret() {
		// A token must not stand in a log.
		lines = []string{"printed by: " + brokerEnvCall(file)}
	}
	if !log.IsText() {
		if r.broker != nil {
			log.Info("Nodes connect to this process", "urls", r.nodesURLs(), "dashboard", r.dashboards())
		}
		log.Info("listening", "turn", r.turnListeners(), "others", r.otherListeners())
		log.Info("clients are told", "urls", urls)
		if r.broker == nil {
			log.Info("a Broker needs this environment", "lines", lines)
		}
		return
	}
	var b strings.Builder
	if r.broker != nil {
		fmt.Fprintf(&b, "Nodes connect to %s\n", strings.Join(r.nodesURLs(), " or "))
	}
	fmt.Fprintf(&b, "Dashboard:\n  %s\n", strings.Join(r.dashboards(), "\n  "))
	fmt.Fprintf(&b, "Clients are told:\n  %s\n", strings.Join(urls, "\n  "))
	if webhooks := r.web(r.now.Load(), "hooks"); webhooks != "" {
		fmt.Fprintf(&b, "Brokers elsewhere reach the webhooks at %s: see %s\n", webhooks, brokerEnvCall(file))
	}
	fmt.Fprintf(&b, "crolang-aio %s listens on\n", version.Get().Version)
	for _, l := range r.turnListeners() {
		fmt.Fprintf(&b, "  turn   %-5s %s\n", l.Transport, l.Address)
	}
	for _, l := range r.otherListeners() {
		fmt.Fprintf(&b, "  %-6s %-5s %s\n", l.Part, l.Transport, l.Address)
	}
	if r.broker != nil {
		_, _ = io.WriteString(w, b.String())
		return // what other Brokers need says broker-env
	}
	fmt.Fprintf(&b, "A Broker needs this environment:\n  %s\n", strings.Join(lines, "\n  "))
	if !env.HasSecret() && len(env.Hints()) > 0 {
		fmt.Fprintf(&b, "A Broker in a container cannot reach %s: see %s\n", env.Base.Host, brokerEnvCall(file))
	}
	_, _ = io.WriteString(w, b.String())
}

// nodesURLs are where Nodes connect to the Broker in this process, the one that is best to be told first: over HTTPS where
// clients accept the certificate. There is none without a Broker.
func (r *reporter) nodesURLs() (all []string) {
	if r.broker == nil {
		return nil
	}
	hold := r.now.Load()
	if own := r.broker.Addr(); own != nil {
		at, _ := netip.ParseAddrPort(own.String())
		all = append(all, "http://"+brokerenv.Reachable(at, hold.public.Machine()))
	}
	if secure := r.web(hold, "broker"); secure != "" {
		all = append(all, secure)
		if r.certs.Verifiable() {
			slices.Reverse(all)
		}
	}
	return all
}

// nodesURL is the first of nodesURLs; empty if there is none.
func (r *reporter) nodesURL() string {
	if all := r.nodesURLs(); len(all) > 0 {
		return all[0]
	}
	return ""
}

// dashboards says where it is, and where the token that it asks for.
func (r *reporter) dashboards() (all []string) {
	hold := r.now.Load()
	at := hold.cfg.Admin.Listen
	for _, l := range r.otherListeners() {
		if l.Part == "admin" {
			at = l.Address
		}
	}
	if u, err := brokerenv.URL(at, hold.public.Machine()); err == nil {
		u.Scheme = adminScheme(hold.cfg.Admin.TLS)
		at = u.String() + "/"
	}
	all = append(all, at)
	if secure := r.web(hold, "admin"); secure != "" {
		all = append(all, secure)
	}
	last := &all[len(all)-1]
	switch {
	case hold.secrets.admin == "":
	case hold.cfg.Admin.Token.IsSet():
		*last += " (its token: admin.token of the configuration)"
	default:
		*last += " (its token: " + filepath.Join(hold.cfg.DataDir, datadir.AdminToken) + ")"
	}
	return all
}

func brokerEnvCall(file string) string {
	if file == "" {
		return "crolang-aio broker-env"
	}
	return "crolang-aio broker-env --config " + file
}

package app

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
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
			log.Info("Nodes connect to this process", "url", r.nodesURL(), "dashboard", r.dashboard())
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
		fmt.Fprintf(&b, "Nodes connect to %s\n", r.nodesURL())
	}
	fmt.Fprintf(&b, "Dashboard:\n  %s\n", r.dashboard())
	fmt.Fprintf(&b, "Clients are told:\n  %s\n", strings.Join(urls, "\n  "))
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

// nodesURL is where Nodes connect to the Broker in this process; empty if there is none.
func (r *reporter) nodesURL() string {
	if r.broker == nil {
		return ""
	}
	at, _ := netip.ParseAddrPort(r.broker.Addr().String())
	return "http://" + brokerenv.Reachable(at, r.now.Load().public.Machine())
}

// dashboard says where it is, and where the token that it asks for.
func (r *reporter) dashboard() string {
	hold := r.now.Load()
	listen := hold.cfg.Admin.Listen
	for _, l := range r.otherListeners() {
		if l.Part == "admin" {
			listen = l.Address
		}
	}
	u, err := brokerenv.URL(listen, hold.public.Machine())
	if err != nil {
		return listen
	}
	switch at := u.String() + "/"; {
	case hold.secrets.admin == "":
		return at
	case hold.cfg.Admin.Token.IsSet():
		return at + " (its token: admin.token of the configuration)"
	default:
		return at + " (its token: " + filepath.Join(hold.cfg.DataDir, datadir.AdminToken) + ")"
	}
}

func brokerEnvCall(file string) string {
	if file == "" {
		return "crolang-aio broker-env"
	}
	return "crolang-aio broker-env --config " + file
}

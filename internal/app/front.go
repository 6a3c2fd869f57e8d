package app

import (
	"net/http"
	"strings"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/internal/admin"
	"github.com/crolang-p2p/crolang-aio/internal/admin/metrics"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/brokerenv"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// openFront builds what answers HTTP at the TURN server's TLS ports. It is there always: a reload may have it serve something.
func (a *App) openFront() (err error) {
	a.front, err = webguard.New(webguard.Config{
		Key: "https.serve", Listener: a.inlet, Handler: http.HandlerFunc(a.serveFront), Logger: a.part("https"),
		// Every part behind it has checks of its own.
		Exempt: func(*http.Request) webguard.Exemption { return webguard.NoToken | webguard.NoHost | webguard.NoQueue },
	})
	return err
}

// serveFront hands a request to the part that it is for. Where there is none, nothing tells a stranger what this is.
// There is no Strict-Transport-Security: it would shut browsers out of every other port of this name that has no TLS,
// and for good out of one with a self-signed certificate.
func (a *App) serveFront(w http.ResponseWriter, r *http.Request) {
	if c, ok := webguard.Accepted(r).(interface{ Proxied() bool }); ok && c.Proxied() {
		r.Header.Del("X-Forwarded-For") // the proxy has said it already, and knows nothing of HTTP
	}
	if h := a.behind(r); h != nil {
		h.ServeHTTP(w, r)
		return
	}
	a.strayed.Add(1)
	w.Header()["Connection"] = []string{"close"}
	w.WriteHeader(http.StatusNotFound)
}

// behind is the part that a request is for; nil: none that is served.
func (a *App) behind(r *http.Request) http.Handler {
	serve := a.cfg().HTTPS
	switch {
	case strings.HasPrefix(r.URL.EscapedPath(), broker.Path):
		if serve.Serves("broker") && a.broker != nil {
			return a.broker.Handler()
		}
	case a.hooks.Serves(r.URL.Path):
		if serve.Serves("hooks") {
			return a.hooks.Handler()
		}
	case serve.Serves("admin"), serve.Serves("test"):
		below, ok := a.guard.Below(r)
		if at := below.URL.EscapedPath(); ok && (serve.Serves("admin") && a.admin.Serves(at) || serve.Serves("test") && admin.TestPaths(at)) {
			return a.guard
		}
	}
	return nil
}

// web is the URL under which a part is reached at the TLS ports; empty: it is not.
func (p *parts) web(hold *holding, part string) string {
	if !hold.cfg.HTTPS.Serves(part) || part == "broker" && p.broker == nil {
		return ""
	}
	var up []publicaddr.Listener
	for _, l := range p.turn.Listeners() {
		up = append(up, publicaddr.Listener{Transport: l.Transport, Addr: l.Addr, Outside: hold.cfg.Turn.PublicPorts[l.Addr.Port()]})
	}
	return webURL(hold.cfg, hold.public, up, part)
}

// webURL is the URL of a part at TLS listeners; empty: there are none.
func webURL(cfg *config.Config, public publicaddr.Public, listeners []publicaddr.Listener, part string) string {
	base := public.HTTPS(listeners)
	if base != "" && (part == "admin" || part == "test") {
		base += strings.TrimRight(cfg.Admin.Path, "/") + "/"
	}
	return base
}

// webURLs lists the URLs of what is served at the TLS ports.
func (r *reporter) webURLs() (all []adminapi.Web) {
	hold := r.now.Load()
	for _, part := range []string{"broker", "hooks", "admin", "test"} {
		if url := r.web(hold, part); url != "" {
			all = append(all, adminapi.Web{Part: part, URL: url})
		}
	}
	return all
}

// testPage is where people elsewhere reach the page of a test by a link; empty: they do not.
func (r *reporter) testPage() string {
	hold := r.now.Load()
	for _, part := range []string{"test", "admin"} {
		if at := r.web(hold, part); at != "" {
			return at
		}
	}
	at := hold.cfg.Admin.Listen
	if !listen.Exposed(at) {
		return ""
	}
	u, err := brokerenv.URL(at, hold.public.Machine())
	if err != nil {
		return ""
	}
	u.Scheme = adminScheme(hold.cfg.Admin.TLS)
	return u.String() + hold.cfg.Admin.Path
}

// webStats brings the counters of HTTP at the TLS ports to the metrics; false if nothing is served there.
func (r *reporter) webStats() (metrics.WebStats, bool) {
	if r.front == nil || len(r.now.Load().cfg.HTTPS.Serve) == 0 {
		return metrics.WebStats{}, false
	}
	return metrics.WebStats{Connections: r.front.Open(), Accepted: r.turn.Streams().HTTP, NotFound: r.strayed.Load()}, true
}

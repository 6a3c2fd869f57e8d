// Package webguard is the HTTP service shell of the webhooks, the admin listener and what else speaks HTTP: it binds, bounds connections,
// headers, time and requests in flight, checks the token, and keeps the pages of other sites out, by Host and Origin.
// What is served behind it is the caller's [http.Handler].
package webguard

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/contain"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// Exemption is a set of checks that a request need not pass. The zero value is empty.
type Exemption uint8

// The exemptions; they may be combined.
const (
	// NoToken lets a request in without a token. Its handler may ask Guard.Authorized itself.
	NoToken Exemption = 1 << iota
	// NoQueue lets a request in over InFlight. Its handler must bound itself.
	NoQueue
	// NoHost lets a request in with any Host and Origin.
	NoHost
)

// HostCheck is what Host and Origin must be. They give away a browser that was led here by a foreign name (DNS
// rebinding) or by a page of another site. A request that carries the token comes from no such browser, so any Host
// will do for it.
type HostCheck uint8

// The host checks.
const (
	// AnyHost checks nothing.
	AnyHost HostCheck = iota
	// OwnHosts is for listeners that browsers are to reach: Host must be loopback, the address that the connection came
	// to, or one of Hosts and Machine.
	OwnHosts
	// CallersHosts is for listeners that programs call, and where only a POST does anything: a request without an
	// Origin, which every browser sends with a POST, may also name the listener by any address, and by a name that
	// nobody can have in the public DNS.
	CallersHosts
)

// Config is what a Guard is made of. Handler, and Listen or Listener, must be set; limits and time-outs that are zero
// take the default given with them.
type Config struct {
	Key      string       // configuration key that a bind error names, such as "hooks.listen"
	Listen   string       // TCP address; port 0 takes a free one
	Listener net.Listener // used in place of Listen if set (socket activation); Run closes it
	Handler  http.Handler // sees only requests that passed every check; no token is left in their header or URL

	// Certificate makes the listener speak TLS 1.2 or later, with what it returns for each handshake; nil: plain HTTP. A client that
	// speaks plain HTTP to it gets 400, and is told.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	Settings
	Exempt    func(r *http.Request) Exemption // nil: nothing is exempt; called before any check, must not block
	CheckHost HostCheck
	Machine   []string // host names and addresses of this machine, without port

	InFlight       int           // requests handled at once, default 256; more wait for their turn
	MaxConns       int           // open connections, default 1024; see conns.go for what happens beyond
	MaxHeaderBytes int           // default 32 KiB
	HeaderTimeout  time.Duration // default 10 s
	BodyTimeout    time.Duration // header and body together, default 30 s
	WriteTimeout   time.Duration // from the end of the header to the end of the answer, default 60 s
	IdleTimeout    time.Duration // kept-alive connection between requests, default 90 s
	StopTimeout    time.Duration // what requests in flight are given when Run is told to end, default 5 s
	Linger         time.Duration // what clients are given before that to let go of kept connections; default 0

	Refused func(r *http.Request, status int) // told of each 401 and 403, for metrics; may be nil
	Logger  *slog.Logger                      // nil discards
}

// Guard is a bound listener and the server on it. It is made by New and served by Run.
type Guard struct {
	cfg    Config
	log    *slog.Logger
	set    atomic.Pointer[settings]
	own    atomic.Pointer[hostSet] // Config.Machine
	conns  *connSet
	slots  chan struct{}
	server *http.Server
	open   sync.WaitGroup // connections whose goroutine has not ended
	letGo  atomic.Bool    // every answer is the last of its connection
	probe  string         // path of Alive's requests, which nobody else knows
	panics contain.Panics
	failed atomic.Uint64 // handshakes of TLS
	refusals
}

// New validates cfg and binds. The error is one line that names cfg.Key and the remedy. A Guard that is never Run must
// be closed with Close.
func New(cfg Config) (*Guard, error) {
	if cfg.Handler == nil {
		return nil, fmt.Errorf("%s: no handler", cfg.Key)
	}
	if cfg.Exempt == nil {
		cfg.Exempt = func(*http.Request) Exemption { return 0 }
	}
	if cfg.Refused == nil {
		cfg.Refused = func(*http.Request, int) {}
	}
	setDefault(&cfg.InFlight, 256)
	setDefault(&cfg.MaxConns, 1024)
	setDefault(&cfg.MaxHeaderBytes, 32<<10)
	setDefault(&cfg.HeaderTimeout, 10*time.Second)
	setDefault(&cfg.BodyTimeout, 30*time.Second)
	setDefault(&cfg.WriteTimeout, 60*time.Second)
	setDefault(&cfg.IdleTimeout, 90*time.Second)
	setDefault(&cfg.StopTimeout, 5*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	listener := cfg.Listener
	if listener == nil {
		var err error
		if listener, err = listen.TCP(cfg.Listen); err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.Key, err)
		}
	}
	g := &Guard{
		cfg:   cfg,
		log:   cfg.Logger,
		conns: newConnSet(listener, cfg.MaxConns),
		slots: make(chan struct{}, cfg.InFlight),
		probe: "/" + rand.Text(),

		refusals: newRefusals(strings.TrimSuffix(cfg.Key, ".listen")),
	}
	g.set.Store(newSettings(cfg.Settings))
	g.SetMachine(cfg.Machine)
	g.server = &http.Server{
		Handler:                      g,
		ReadHeaderTimeout:            cfg.HeaderTimeout,
		ReadTimeout:                  cfg.BodyTimeout,
		WriteTimeout:                 cfg.WriteTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		MaxHeaderBytes:               cfg.MaxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug), // strangers cause these
		ConnContext:                  withConn,
		ConnState:                    g.connState,
	}
	return g, nil
}

func setDefault[T int | time.Duration](value *T, otherwise T) {
	if *value <= 0 {
		*value = otherwise
	}
}

// Addr returns the bound address.
func (g *Guard) Addr() net.Addr { return g.conns.Addr() }

// Open is how many connections a Guard has, without those that handlers took over.
func (g *Guard) Open() int {
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	return len(g.conns.conns)
}

// Lost is what was not served as it should have been, since New, by cause: connections that gave way to newer ones beyond
// MaxConns (displaced), handshakes of TLS that failed (bad_handshake), and requests whose handler panicked (panicked), which is always 0, but for a mistake of ours.
func (g *Guard) Lost() map[string]uint64 {
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	lost := map[string]uint64{"displaced": g.conns.displaced, "panicked": g.panics.Count()}
	if g.cfg.Certificate != nil {
		lost["bad_handshake"] = g.failed.Load()
	}
	return lost
}

// SetMachine replaces Config.Machine, for every request that begins from now on.
func (g *Guard) SetMachine(hosts []string) {
	h := newHostSet(hosts)
	g.own.Store(&h)
}

// Close releases the listener of a Guard that is not Run. After Run it does nothing.
func (g *Guard) Close() error { return g.conns.Close() }

// LetGo makes every answer from now on the last one of its connection, so that no client still keeps one when Run ends:
// a request that is sent while its connection is closed is lost. New connections are still accepted.
func (g *Guard) LetGo() { g.letGo.Store(true) }

// Run serves until ctx ends, then takes no more connections, gives requests in flight StopTimeout, and returns when
// every connection has ended. It returns nil if ctx ended it. Connections that still wait to be accepted are
// reset, unless another process holds the Listener too: then they wait for whoever accepts next.
func (g *Guard) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- g.server.Serve(g.spoken()) }()
	select {
	case err := <-served:
		_ = g.server.Close()
		g.open.Wait()
		return fmt.Errorf("%s: the listener failed: %w", g.cfg.Key, err)
	case <-ctx.Done():
	}
	g.LetGo()
	g.awaitIdle()
	_ = g.conns.Close()
	err := <-served
	if !errors.Is(err, net.ErrClosed) { // it failed at the same moment
		err = fmt.Errorf("%s: the listener failed: %w", g.cfg.Key, err)
	} else {
		err = nil
	}
	g.conns.closeUnused() // Shutdown would wait 5 s for connections that never carried a request
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.StopTimeout)
	defer cancel()
	if err := g.server.Shutdown(stop); err != nil {
		_ = g.server.Close() // what is still in flight is cut
	}
	g.open.Wait()
	return err
}

// awaitIdle waits up to Linger until clients have let go of the connections that they keep.
func (g *Guard) awaitIdle() {
	if g.cfg.Linger <= 0 {
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(g.cfg.Linger); g.conns.kept() && time.Now().Before(end); {
		<-tick.C
	}
}

// Authorized reports whether r carries the token, or needs none and is no foreign page's. It is for the handlers of
// NoToken requests: the token is still in their header or URL, and must not be logged.
func (g *Guard) Authorized(r *http.Request) bool {
	set := g.set.Load()
	may := set.token.of(r)
	if may != mayAll || g.foreign(r, set, may) != nil {
		return false
	}
	trust(r)
	return true
}

// admit returns the status and the reason with which a request that may do so much is refused; 0: it may pass.
func (g *Guard) admit(r *http.Request, exempt Exemption, set *settings, may permission) (status int, _ error) {
	switch {
	case exempt&NoToken != 0:
	case may == mayNothing:
		return http.StatusUnauthorized, nil
	case may == mayRead && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return http.StatusForbidden, g.errReadOnly
	}
	if exempt&NoHost == 0 {
		if err := g.foreign(r, set, may); err != nil {
			return http.StatusForbidden, err
		}
	}
	if exempt&NoToken == 0 {
		trust(r)
		strip(r)
	}
	return 0, nil
}

// ServeHTTP checks a request and hands it to the handler. It is what the server calls.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer g.recovered()
	if r.URL.Path == g.probe {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if g.letGo.Load() {
		w.Header()["Connection"] = lastAnswer
	}
	set := g.set.Load()
	path := set.path
	if path != "" && r.URL.Path == path && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		http.Redirect(w, r, path+"/", http.StatusPermanentRedirect) // so that the page's relative URLs are below it
		return
	}
	r = below(r, path)
	exempt := g.cfg.Exempt(r)
	may := set.token.of(r)
	if status, err := g.admit(r, exempt, set, may); status != 0 {
		g.refuse(w, r, status, err)
		return
	}
	if may == mayRead || may == mayAll && set.token.need && r.Method != http.MethodGet && r.Method != http.MethodHead {
		r = r.WithContext(context.WithValue(r.Context(), permissionKey{}, may))
	}
	if exempt&NoQueue == 0 {
		if !g.enter(w, r) {
			return
		}
		defer func() { <-g.slots }()
	}
	g.cfg.Handler.ServeHTTP(w, r)
}

var lastAnswer = []string{"close"}

var challenge = []string{`Basic realm="crolang-aio", charset="UTF-8"`} // RFC 9110 §15.5.2 wants one with each 401

// refuse answers with the status, and with the reason if there is one.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, status int, reason error) {
	g.cfg.Refused(r, status)
	if reason == nil {
		w.Header()["Www-Authenticate"] = challenge
		w.WriteHeader(status)
		return
	}
	body, _ := json.Marshal(map[string]string{"error": reason.Error()}) // never fails
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// enter takes a slot, and waits for it as long as it must. The time-outs of a request that had to wait begin anew. It
// returns false if the client has gone.
func (g *Guard) enter(w http.ResponseWriter, r *http.Request) bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	select {
	case g.slots <- struct{}{}:
	case <-r.Context().Done():
		return false
	}
	g.Extend(w)
	return true
}

// Extend lets the time-outs of a request begin anew, for a handler that made its client wait.
func (g *Guard) Extend(w http.ResponseWriter) {
	control, now := http.NewResponseController(w), time.Now()
	_ = control.SetReadDeadline(now.Add(g.cfg.BodyTimeout))
	_ = control.SetWriteDeadline(now.Add(g.cfg.WriteTimeout))
}

// recovered ends only this connection if a handler panicked. Neither URL nor header is logged.
func (g *Guard) recovered() {
	cause := recover()
	if cause == nil {
		return
	}
	if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		g.panics.Stopped(g.log, "request handler panicked: please report this", cause)
	}
	panic(http.ErrAbortHandler)
}

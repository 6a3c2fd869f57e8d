package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/jsontext"
)

// Path of the Broker; what follows it does not matter.
const Path = "/socket.io/"

// handshakeError is a code of engine.io, with its text.
type handshakeError int

const (
	errTransport handshakeError = iota
	errSession
	errMethod
	errRequest
	errForbidden
	errProtocol
)

var handshakeTexts = [...]string{"Transport unknown", "Session ID unknown", "Bad handshake method", "Bad request", "Forbidden", "Unsupported protocol version"}

// serveHTTP answers a request and makes a connection of it where all is well.
func (b *Broker) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 || r.Header.Get("Upgrade") == "" { // an announced body that does not come would be waited for
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.cfg.timing.handshake))
	}
	if !strings.HasPrefix(r.URL.EscapedPath(), Path) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions && r.Header.Get("Upgrade") == "" {
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Allow-Methods", "*")
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			h.Set("Access-Control-Allow-Headers", asked)
		}
		h.Set("Vary", "Access-Control-Request-Headers")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Access-Control-Allow-Credentials", "true")
	q := parseQuery(r.URL.RawQuery)
	upgrade := r.Header.Get("Upgrade") != ""
	if code, ok := b.verify(r, &q, upgrade); !ok {
		if code == errForbidden {
			b.counts.foreignPages.Add(1)
			origin := r.Header.Get("Origin")
			b.tell(r, &q, JoinRefused, "pages of "+strconv.Quote(origin[:min(len(origin), 100)])+" may not connect, see broker.origins")
		} else {
			b.counts.badRequests.Add(1)
		}
		answer(w, code, upgrade)
		return
	}
	b.handshake(w, r, &q)
}

// verify looks at what engine.io looks at, in its order.
func (b *Broker) verify(r *http.Request, q *query, upgrade bool) (handshakeError, bool) {
	transport, _ := one(q.transport)
	switch {
	case transport != "websocket":
		return errTransport, false
	case !b.originAllowed(r):
		return errForbidden, false
	case len(q.sid) > 1 || (len(q.sid) == 1 && q.sid[0] != ""):
		return errSession, false
	case r.Method != http.MethodGet:
		return errMethod, false
	case !upgrade:
		return errRequest, false
	}
	if eio, _ := one(q.eio); eio != "4" {
		return errProtocol, false
	}
	return 0, true
}

// answer refuses a request as engine.io does: JSON, or text where a WebSocket was asked for.
func answer(w http.ResponseWriter, code handshakeError, upgrade bool) {
	status := http.StatusBadRequest
	if code == errForbidden {
		status = http.StatusForbidden
	}
	text := handshakeTexts[code]
	if upgrade {
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return
	}
	body, _ := json.Marshal(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{int(code), text})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// tell makes known that a Node was not let in before there was a connection of it, if it says who it is.
func (b *Broker) tell(r *http.Request, q *query, kind Kind, cause string) {
	if id, ok := one(q.id); ok && id != "" {
		version, _ := one(q.version)
		runtime, _ := one(q.runtime)
		b.observe(Event{Kind: kind, Node: id, Cause: cause, From: b.client(r), Version: version, Runtime: runtime})
	}
}

// later tells a client to try again; a Node does, unlike after a refusal by 44.
func (b *Broker) later(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "2")
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusServiceUnavailable)
}

// originAllowed reports whether a browser's page may connect. Without the check any page that somebody opens on this machine
// could join a Broker that trusts loopback, and take a credential.
func (b *Broker) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	set := b.set.Load()
	switch {
	case origin == "" || set.anyOrigin:
		return true
	case len(set.origins) > 0:
		return set.origins[strings.ToLower(origin)]
	case ownRequest(r) && !b.strict, !ownRequest(r) && !b.cfg.HandlerOnLoopback:
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && loopbackHost(u.Hostname()) && loopbackHost(hostname(r.Host))
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

func loopbackHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// handshake decides whether the Node may join before it answers 101, since "try again" can be said with a status only.
func (b *Broker) handshake(w http.ResponseWriter, r *http.Request, q *query) {
	b.mu.Lock()
	if b.stopped || b.draining.Load() {
		b.mu.Unlock()
		b.counts.draining.Add(1)
		b.tell(r, q, JoinFailed, "the server is shutting down")
		b.later(w)
		return
	}
	b.conns.Add(1)
	b.mu.Unlock()
	given := true
	defer func() {
		if given {
			b.conns.Done()
		}
	}()
	c := b.newConn(r, q)
	if c.place == nil {
		b.tell(r, q, JoinFailed, "every place is taken, see broker.limits")
		b.later(w)
		return
	}
	defer c.containHandshake()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	o := b.admit(ctx, c)
	b.settle(c, &o)
	if o.failed || c.ended.Load() {
		b.abandon(c)
		b.later(w)
		return
	}
	c.prepared = &o
	header := http.Header{"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Credentials": {"true"}}
	nc, rw, _, err := ws.HTTPUpgrader{Header: header, Timeout: b.cfg.timing.handshake}.Upgrade(r, w)
	if err != nil {
		if nc != nil {
			nc.Close()
		}
		b.abandon(c)
		return
	}
	if d, ok := nc.(*door); ok {
		nc = d.Conn // its place is the connection's now
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(kernelBuffer)
	}
	c.in = bufio.NewReaderSize(c, readBuffer)
	if n := rw.Reader.Buffered(); n > 0 { // the client did not wait
		early, _ := rw.Reader.Peek(n)
		c.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), c), readBuffer)
	}
	b.mu.Lock()
	c.nc = nc
	stopped := b.stopped
	if !stopped {
		b.live[c] = struct{}{}
	}
	b.mu.Unlock()
	if stopped || c.ended.Load() {
		nc.Close()
		b.abandon(c)
		return
	}
	given = false
	go c.serve()
}

// abandon gives back what a connection holds that never came about.
func (b *Broker) abandon(c *conn) {
	c.finish("the handshake failed")
	b.leave(c)
	b.places.Release(c.place)
}

// newConn finds a place; without one the connection's is nil.
func (b *Broker) newConn(r *http.Request, q *query) *conn {
	c := &conn{b: b, opened: time.Now(), from: b.client(r), timer: timer{slot: -1}}
	c.strange.Store(int64(c.opened.Sub(b.start)))
	c.join.Data, c.join.Source = q.data, c.from
	for _, value := range []struct {
		name string
		to   *string
		from []string
	}{{"id", &c.join.Node, q.id}, {"version", &c.join.Version, q.version}, {"runtime", &c.join.Runtime, q.runtime}} {
		text, ok := one(value.from)
		if !ok && c.lacks == "" {
			c.lacks = value.name
		}
		*value.to = text
	}
	c.ctx, c.cancel = context.WithCancel(b.ctx)
	evict := func() { c.drop("its place was needed for another") }
	if door, ok := r.Context().Value(doorKey{}).(*door); ok && !b.trusted(peer(r)) {
		c.place = door.pass(evict)
	} else {
		c.place = b.seat(c.from, evict)
	}
	if c.place == nil {
		c.cancel()
	}
	return c
}

// client is where a request comes from: the peer, or what trusted proxies say, the rightmost address that is none of them.
func (b *Broker) client(r *http.Request) netip.Addr {
	from := peer(r)
	if !b.trusted(from) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		text := strings.TrimSpace(hops[i])
		addr, err := netip.ParseAddr(text)
		if err != nil {
			with, err := netip.ParseAddrPort(text)
			if err != nil {
				return from // what a proxy did not write says nothing
			}
			addr = with.Addr()
		}
		from = addr.Unmap()
		if !b.trusted(from) {
			break
		}
	}
	return from
}

func peer(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr().Unmap()
}

func (b *Broker) trusted(addr netip.Addr) bool {
	for _, prefix := range b.set.Load().TrustedProxies {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// quote makes a JSON string of text.
func quote(text []byte) []byte {
	return jsontext.AppendQuoted(make([]byte, 0, len(text)+len(text)/8+2), text)
}

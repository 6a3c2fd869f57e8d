package policy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	renewConns   = time.Minute // after which connections are made anew, since a name in the DNS may lead elsewhere by then
	maxRedirects = 5
)

// newTransport keeps as many connections as there may be requests.
func newTransport(conns int) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxIdleConnsPerHost:    conns,
		MaxConnsPerHost:        conns,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

// renewed is a transport that makes its connections anew every renewConns, whether they are idle or busy; those that
// carry a request then end with it.
type renewed struct {
	conns int
	now   func() time.Time
	dated func(time.Time) // is told when each answer was made, by the clock of who made it; nil: nobody is

	mu      sync.Mutex
	current *http.Transport
	made    time.Time
}

// RoundTrip implements [http.RoundTripper].
func (r *renewed) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.transport().RoundTrip(request)
	if err == nil && r.dated != nil {
		if at, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			r.dated(at)
		}
	}
	return response, err
}

func (r *renewed) transport() *http.Transport {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.current == nil || now.Sub(r.made) >= renewConns {
		if r.current != nil {
			r.current.CloseIdleConnections() // which keeps it from keeping others from now on
		}
		r.current, r.made = newTransport(r.conns), now
	}
	return r.current
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (r *renewed) CloseIdleConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil {
		r.current.CloseIdleConnections()
		r.current = nil
	}
}

var errRedirect = errors.New("it redirects to another host: give the address that it redirects to")

// sameHost lets redirects pass that stay on the host, and do not give up TLS.
func sameHost(request *http.Request, via []*http.Request) error {
	switch from := via[0].URL; {
	case !strings.EqualFold(request.URL.Host, from.Host), from.Scheme == "https" && request.URL.Scheme != "https":
		return errRedirect
	case len(via) > maxRedirects:
		return errors.New("it redirects without end")
	}
	return nil
}

// safeToRepeat tells the transport to send a request again on another connection when the one that it was sent on, a
// kept one, ends without an answer: the other side was just closing it. The header is not sent.
func safeToRepeat(request *http.Request) { request.Header["Idempotency-Key"] = nil }

// lent is a request's body that belongs to the caller: nothing reads it once it was taken back, though the transport
// may do so after the answer has come.
type lent struct {
	mu   sync.Mutex
	text []byte
}

// body makes a reader of the whole text. It may be called again.
func (l *lent) body() (io.ReadCloser, error) { return &lentReader{of: l}, nil }

func (l *lent) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = nil
}

type lentReader struct {
	of *lent
	at int
}

// Read implements [io.Reader].
func (r *lentReader) Read(p []byte) (int, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.text == nil {
		return 0, io.ErrClosedPipe
	}
	n := copy(p, r.of.text[r.at:])
	if r.at += n; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close implements [io.Closer].
func (*lentReader) Close() error { return nil }

package acme

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// callTimeout bounds one call of the CA.
	callTimeout = 30 * time.Second
	// longestAnswer bounds what a CA may answer: a long chain is some 20 kB.
	longestAnswer = 1 << 20
)

// web is the HTTP client for a CA. It bounds answers, and notes their date and when to come again.
type web struct {
	base  *http.Transport
	dated func(time.Time)
	// again is when the last answer that said "too many" wants the next request, in Unix seconds; 0: it did not say.
	again atomic.Int64
}

func newWeb(roots *x509.CertPool, dated func(time.Time)) *web {
	return &web{dated: dated, base: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     30 * time.Second, // the CA is asked once in days
		ForceAttemptHTTP2:   true,
	}}
}

func (w *web) client() *http.Client { return &http.Client{Transport: w, Timeout: callTimeout} }

// RoundTrip implements [http.RoundTripper].
func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		w.dated(t)
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		w.again.Store(comeAgain(resp.Header.Get("Retry-After"), time.Now()))
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, longestAnswer), resp.Body}
	return resp, nil
}

// comeAgain is the time that a Retry-After stands for, in Unix seconds; 0: none.
func comeAgain(text string, now time.Time) int64 {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return now.Add(time.Duration(n) * time.Second).Unix()
	}
	if t, err := http.ParseTime(text); err == nil {
		return t.Unix()
	}
	return 0
}

package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// explainDial says why connecting failed, handshakes included.
func (p *probe) explainDial(ctx context.Context, at netip.AddrPort, err error) *failure {
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return p.refused(at)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		family := "IPv4"
		if at.Addr().Is6() {
			family = "IPv6"
		}
		return &failure{"connect", fmt.Sprintf("there is no way to %s: %s", at, plainErrno(err)), "check this machine's " + family + " route"}
	case errors.As(err, &record):
		if isHTTP(record.RecordHeader[:]) {
			return notTLS(at, "an HTTP server answers there", p.u)
		}
		return notTLS(at, "what answers there does not speak TLS", p.u)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		if p.u.secure() && p.answersPlain(ctx, at) {
			return notTLS(at, "a TURN server answers there, but without TLS", p.u)
		}
		return &failure{
			"tls", fmt.Sprintf("%s ended the connection in the %s handshake", at, transportNames[p.u.transport]),
			"check that the server has a certificate and that TLS is on at this port",
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return p.dialTimeout(ctx, at)
	}
	if p.u.secure() {
		return &failure{
			"tls", fmt.Sprintf("the %s handshake with %s failed: %s", transportNames[p.u.transport], at, lastOf(err)),
			"let the server offer TLS 1.2 or 1.3 (DTLS 1.2) with usual ciphers",
		}
	}
	return &failure{"connect", fmt.Sprintf("cannot connect to %s: %s", at, lastOf(err)), "check address and port"}
}

func notTLS(at netip.AddrPort, what string, u iceURL) *failure {
	return &failure{
		"tls", fmt.Sprintf("no TLS at %s: %s", at, what),
		fmt.Sprintf("use %s for a port without TLS, or turn TLS on at this port", strings.Replace(u.text, "s:", ":", 1)),
	}
}

func (p *probe) refused(at netip.AddrPort) *failure {
	return &failure{
		"connect", fmt.Sprintf("nothing listens on %s port %d of %s: refused", p.u.network(), at.Port(), at.Addr()),
		"start the server, or correct the port in its configuration or in the URL",
	}
}

// dialTimeout tells a port that is filtered from one that takes connections and then says nothing.
func (p *probe) dialTimeout(ctx context.Context, at netip.AddrPort) *failure {
	switch {
	case p.u.transport == "dtls":
		if p.answersPlain(ctx, at) {
			f := notTLS(at, "a TURN server answers there, but without DTLS", p.u)
			f.detail = strings.Replace(f.detail, "no TLS", "no DTLS", 1)
			return f
		}
		return p.noAnswer(ctx, at)
	case p.u.transport == "tls" && p.opens(ctx, at):
		if p.answersPlain(ctx, at) {
			return notTLS(at, "a TURN server answers there, but without TLS", p.u)
		}
		if isHTTP(p.sniff(ctx, at)) {
			return notTLS(at, "an HTTP server answers there", p.u)
		}
		return notTLS(at, "it takes the connection, but does not answer the handshake", p.u)
	}
	return p.noAnswer(ctx, at)
}

// noAnswer is about silence, which for UDP can have several causes.
func (p *probe) noAnswer(ctx context.Context, at netip.AddrPort) *failure {
	advice := fmt.Sprintf("open %s port %d in every firewall on the way (also the provider's), and forward or publish it behind NAT or Docker",
		p.u.network(), at.Port())
	if p.cfg.Local != nil && scopeOf(at.Addr()) == scopePublic {
		advice += "; a router may not lead its own network back in (hairpin NAT): try `crolang-aio doctor --url` from outside"
	}
	f := &failure{"connect", fmt.Sprintf("no answer from %s over %s", at, p.u.network()), advice}
	if p.u.packets() && p.opens(ctx, at) {
		f.detail += ", though TCP to the same port is open: UDP is off there, or filtered"
	}
	return f
}

// explainSilence says why there was no answer to Binding on a connection that stood. strange is what came instead.
func (p *probe) explainSilence(ctx context.Context, at netip.AddrPort, err error, strange []byte) *failure {
	notSTUN := func(what string) *failure {
		return &failure{"stun", fmt.Sprintf("%s answers, but is no STUN server: %s", at, what), "correct the port: another service listens there"}
	}
	switch {
	case isHTTP(strange):
		return notSTUN("it is an HTTP server")
	case strange != nil && p.u.transport == "tcp" && looksTLS(strange):
		return notSTUN("it speaks TLS, so the URL must begin with turns: or stuns:")
	case strange != nil:
		return notSTUN("it said " + printableStart(strange))
	case errors.Is(err, syscall.ECONNREFUSED):
		return p.refused(at)
	case p.u.packets():
		if p.u.transport == "udp" && p.answersDTLS(ctx, at) {
			return notSTUN("it speaks DTLS only, so the URL must begin with turns: or stuns:")
		}
		return p.noAnswer(ctx, at)
	}
	// A stream that stood, and silence or its end.
	if isHTTP(p.sniff(ctx, at)) {
		return notSTUN("it is an HTTP server")
	}
	if p.u.transport == "tcp" && p.handshakes(ctx, at) {
		return notSTUN("it speaks TLS, so the URL must begin with turns: or stuns:")
	}
	if errors.Is(err, turnclient.ErrTimeout) {
		return notSTUN("it takes the connection and says nothing")
	}
	return notSTUN("it ended the connection")
}

// isHTTP reports whether bytes begin an answer of HTTP.
func isHTTP(b []byte) bool { return strings.HasPrefix(string(b), "HTTP/") }

// looksTLS reports whether bytes begin an alert or a handshake of TLS.
func looksTLS(b []byte) bool { return len(b) >= 2 && (b[0] == 21 || b[0] == 22) && b[1] == 3 }

// opens reports whether TCP connects.
func (p *probe) opens(ctx context.Context, at netip.AddrPort) bool {
	d := net.Dialer{Timeout: p.cfg.Patience / 2}
	c, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// sniff asks for a page, over TLS if the URL does, and returns the beginning of the answer.
func (p *probe) sniff(ctx context.Context, at netip.AddrPort) []byte {
	step, cancel := context.WithTimeout(ctx, p.cfg.Patience/2)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(step, "tcp", at.String())
	if err != nil {
		return nil
	}
	defer conn.Close()
	if end, ok := step.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	defer context.AfterFunc(step, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	var rw io.ReadWriter = conn
	if t := tls.Client(conn, p.options(at).TLS); p.u.transport == "tls" {
		if t.HandshakeContext(step) != nil {
			return nil
		}
		rw = t
	}
	if _, err := io.WriteString(rw, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return nil
	}
	b := make([]byte, 64)
	n, _ := io.ReadAtLeast(rw, b, 5)
	return b[:n]
}

// answersPlain reports whether the same port answers STUN without TLS.
func (p *probe) answersPlain(ctx context.Context, at netip.AddrPort) bool {
	plain := map[string]string{"tls": "tcp", "dtls": "udp"}
	return p.answersAs(ctx, at, plain[p.u.transport])
}

func (p *probe) answersDTLS(ctx context.Context, at netip.AddrPort) bool {
	return p.answersAs(ctx, at, "dtls")
}

func (p *probe) answersAs(ctx context.Context, at netip.AddrPort, transport string) bool {
	step, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	o := p.options(at)
	o.Transport, o.Timeout = transport, p.cfg.Patience/2
	c, err := turnclient.Dial(step, o)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Binding(step)
	return err == nil || turnclient.Code(err) != 0
}

// handshakes reports whether a TLS handshake works there.
func (p *probe) handshakes(ctx context.Context, at netip.AddrPort) bool {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: p.cfg.Patience / 2}, Config: p.options(at).TLS}
	step, cancel := context.WithTimeout(ctx, p.cfg.Patience/2)
	defer cancel()
	c, err := d.DialContext(step, "tcp", at.String())
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func plainErrno(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return lastOf(err)
}

// lastOf is what stands at the end of a chain of errors: the rest repeats addresses.
func lastOf(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

package turnsrv

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// decrypted hands on a client whose handshake is done: to where its ALPN says, else, at a port for TURN and HTTP, to where
// its first bytes do.
func (s *streams) decrypted(ctx context.Context, a *arrival, secure *tls.Conn) {
	switch known := secure.ConnectionState().NegotiatedProtocol; {
	case known == protoACME:
		_ = secure.Close() // the certificate was all
		return
	case known == protoHTTP:
		s.handHTTP(ctx, a, secure, nil)
		return
	case known != "" || !a.to.shared || !s.web.Load():
		s.handOn(ctx, a, secure)
		return
	}
	head, spoken := s.firstWord(a.c, secure)
	switch spoken {
	case tooLittle:
		s.fail(a.c, &s.counts.silent)
	case ofHTTP:
		s.handHTTP(ctx, a, secure, head)
	case ofTURN:
		s.handOn(ctx, a, &relay.Begun{Conn: secure, Head: head})
	}
}

// language is what a client speaks.
type language int

const (
	tooLittle language = iota // to tell
	ofTURN
	ofHTTP
)

// methods are those of HTTP, and the beginning of HTTP/2, which a server of HTTP/1.1 refuses better.
var methods = []string{"GET ", "POST ", "HEAD ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI "}

// longestMethod is as much as has to be read.
const longestMethod = 8

// spoken finds out what a client speaks that begins with b. Letters are first bytes of ChannelData too, but no client has
// a channel before it has sent anything else.
func spoken(b []byte) language {
	if len(b) == 0 {
		return tooLittle
	}
	for _, m := range methods {
		switch {
		case strings.HasPrefix(string(b), m):
			return ofHTTP
		case strings.HasPrefix(m, string(b)):
			return tooLittle
		}
	}
	return ofTURN
}

// firstWord reads as much as it takes to tell what a client speaks, and returns it.
func (s *streams) firstWord(c *net.TCPConn, secure *tls.Conn) (head []byte, _ language) {
	_ = c.SetDeadline(time.Now().Add(s.cfg.FirstWord))
	head = make([]byte, 0, longestMethod)
	for {
		n, err := secure.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if l := spoken(head); l != tooLittle || err != nil {
			return head, l
		}
	}
}

// handHTTP gives a client away. Its place is free as soon as somebody has taken it.
func (s *streams) handHTTP(ctx context.Context, a *arrival, secure *tls.Conn, head []byte) {
	_ = a.c.SetDeadline(time.Time{})
	_ = a.c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true})
	if !s.cfg.HTTP(ctx, &webConn{Conn: secure, tcp: a.c, head: head, proxied: a.proxied}) {
		reset(a.c)
		return
	}
	s.counts.http.Add(1)
}

// webConn is a connection on which HTTP is spoken. Over NetConn it leads to the socket.
type webConn struct {
	*tls.Conn

	tcp     *net.TCPConn
	head    []byte // read and not given out yet; the reader's
	proxied bool
	once    sync.Once
	err     error
}

// Proxied reports whether a trusted proxy has told the client's address, which RemoteAddr returns: nothing that the client
// itself says of it counts.
func (w *webConn) Proxied() bool { return w.proxied }

// Read reads as net.Conn has it.
func (w *webConn) Read(b []byte) (int, error) {
	if len(w.head) > 0 {
		n := copy(b, w.head)
		w.head = w.head[n:]
		return n, nil
	}
	return w.Conn.Read(b)
}

// farewell is how long the client may take to be told of the end.
const farewell = 250 * time.Millisecond

// Close closes the connection. It does not wait for a client that does not read: package tls would, 5 s for the message
// that ends the stream, and without end where it is just answering a key update.
func (w *webConn) Close() error {
	w.once.Do(func() {
		cut := time.AfterFunc(farewell, func() { w.tcp.Close() })
		w.err = w.Conn.Close()
		cut.Stop()
	})
	return w.err
}

// Abort ends the connection at once.
func (w *webConn) Abort() { reset(w.tcp) }

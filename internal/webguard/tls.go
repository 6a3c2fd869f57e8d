package webguard

import (
	"crypto/tls"
	"net"
	"net/http"
)

// spoken is the listener as the server gets it: with TLS where there is a certificate.
func (g *Guard) spoken() net.Listener {
	if g.cfg.Certificate == nil {
		return g.conns
	}
	return tls.NewListener(g.conns, &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: g.cfg.Certificate, NextProtos: []string{"http/1.1"},
	})
}

// underTLS is the connection that the Guard counts, below TLS if that is spoken.
func underTLS(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}

// countHandshake counts a connection that ended before its handshake was over. Time-outs and clients that say nothing are among them.
func (g *Guard) countHandshake(c net.Conn, state http.ConnState) {
	if secure, ok := c.(*tls.Conn); ok && state == http.StateClosed && !secure.ConnectionState().HandshakeComplete {
		g.failed.Add(1)
	}
}

package turnsrv

import (
	"context"
	"net"
	"slices"
	"sync/atomic"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// bind makes the data plane and binds every configured listener.
func (s *Server) bind(workers int) error {
	kernel, err := s.loadOffload()
	if err != nil {
		return err
	}
	if s.plane, err = relay.New(relay.Config{
		Handler:       handler{s},
		DTLS:          func(src relay.Source, b []byte) { s.streams.datagram(src, b) },
		OnClientGone:  func(r *relay.Relay, cause string) { s.control.ClientGone(r, cause) },
		OnClientAway:  func(r *relay.Relay, cause string) { s.control.ClientAway(r, cause) },
		OnClientMoved: func(r *relay.Relay, from, to relay.Tuple) { s.control.ClientMoved(r, from, to) },
		OnPanic:       s.stopped,
		IPv4:          s.cfg.IPv4,
		IPv6:          s.cfg.IPv6,
		PortMin:       s.cfg.PortMin,
		PortMax:       s.cfg.PortMax,
		BitsPerSecond: s.cfg.Settings.BitsPerSecond,

		TotalBitsPerSecond: s.cfg.Settings.TotalBitsPerSecond,
		ICMP:               s.cfg.Settings.ICMP,

		OwnListener: s.ownListener,
		AllowSend:   s.control.AllowSend,
		Sibling:     s.control.Sibling,
		// Reservations outlive their allocations and count for no quota: together they may hold an eighth of the ports.
		MaxReservations: min(256, max(1, (int(s.cfg.PortMax)-int(s.cfg.PortMin)+1)/8)),
		Workers:         workers,
		Files:           clientFiles(openFiles()),
		Kernel:          kernel,
		Now:             s.cfg.Now,
		Logger:          s.log,
	}); err != nil {
		return err
	}
	s.control.Use(s.plane)
	if s.streams, err = newStreams(streamsConfig{
		Plane: counted{s.plane, &s.open}, TCP: s.has("tcp"), TLS: s.has("tls"), DTLS: s.has("dtls"), Certificate: s.cfg.Certificate,
		Passed: s.cfg.Passed, ConnectionsPerIP: s.cfg.Settings.ConnectionsPerIP, Files: clientFiles(openFiles()), Logger: s.log,
		OnPanic: s.stopped, HTTP: s.cfg.HTTP,
	}); err != nil {
		return err
	}
	s.streams.serveHTTP(s.cfg.Settings.HTTP)
	s.streams.believe(s.cfg.Settings.Proxies)
	if err := s.bindAll("turn.listen", s.cfg.Listen, "udp", "tcp"); err != nil {
		return err
	}
	if err := s.bindAll("turn.listen_tls", s.cfg.ListenTLS, "dtls", "tls"); err != nil {
		return err
	}
	if err := s.streams.unused(); err != nil {
		return err
	}
	order := []string{"udp", "tcp", "tls", "dtls"}
	slices.SortStableFunc(s.listeners, func(a, b Listener) int {
		return slices.Index(order, a.Transport) - slices.Index(order, b.Transport)
	})
	return nil
}

// counted is the data plane, and counts the connections that it serves, by transport.
type counted struct {
	*relay.Plane
	open *connections
}

type connections [4]atomic.Int64 // by relay.Transport

// ServeStream calls [relay.Plane.ServeStream].
func (c counted) ServeStream(ctx context.Context, conn net.Conn, t relay.Tuple, relaying func(bool)) error {
	c.open[t.Transport].Add(1)
	defer c.open[t.Transport].Add(-1)
	return c.Plane.ServeStream(ctx, conn, t, relaying)
}

// ServeMessages calls [relay.Plane.ServeMessages].
func (c counted) ServeMessages(ctx context.Context, conn net.Conn, t relay.Tuple, relaying func(bool)) error {
	c.open[t.Transport].Add(1)
	defer c.open[t.Transport].Add(-1)
	return c.Plane.ServeMessages(ctx, conn, t, relaying)
}

// Connections returns how many connections of a transport are open and have finished their handshake; 0 for UDP, which
// has none.
func (s *Server) Connections(t relay.Transport) int { return int(s.open[t].Load()) }

// handler keeps plain STUN away from control if UDP is off and its sockets are there for DTLS alone.
type handler struct{ s *Server }

// HandleSTUN implements [relay.Handler].
func (h handler) HandleSTUN(src relay.Source, msg []byte) {
	if src.Transport != relay.UDP || h.s.has("udp") {
		h.s.control.HandleSTUN(src, msg)
	}
}

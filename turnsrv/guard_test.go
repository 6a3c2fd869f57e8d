package turnsrv

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/internal/places"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// mistaken is a data plane with a mistake in it, for clients of one address.
type mistaken struct{ streamServer }

func (mistaken) around(p streamServer) streamServer { return mistaken{p} }

var poisonous = netip.MustParseAddr("127.6.6.6")

func (m mistaken) ServeStream(ctx context.Context, c net.Conn, t relay.Tuple, relaying func(bool)) error {
	if t.Client.Addr() == poisonous {
		panic("a mistake")
	}
	return m.streamServer.ServeStream(ctx, c, t, relaying)
}

func (m mistaken) ServeMessages(ctx context.Context, c net.Conn, t relay.Tuple, relaying func(bool)) error {
	if t.Client.Addr() == poisonous {
		panic("a mistake")
	}
	return m.streamServer.ServeMessages(ctx, c, t, relaying)
}

// TestPanicsEndOneConnection makes everything panic that serves a stranger, one after the other: the connection in
// question ends, all others go on, and the log has one line.
func TestPanicsEndOneConnection(t *testing.T) {
	pair := selfSigned(t, ecdsaPair(), ecdsaPair().Public())
	s := newSite(t, streamsConfig{Plane: mistaken{}, Certificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if h.ServerName == "poison" {
			panic("a mistake")
		}
		return pair, nil
	}})
	var broken atomic.Bool // the clocks
	for _, p := range []*places.Hall{s.places, s.dtls.places} {
		p.Clock(func() time.Time {
			if broken.Load() {
				panic("a mistake")
			}
			return time.Now()
		})
	}
	poisonSocket := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: poisonous.AsSlice()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	plain := s.dialTCP(s.tcp[0], "")
	secure, err := s.dialTLS(s.tcp[0], "", nil)
	if err != nil {
		t.Fatal(err)
	}
	overUDP, err := s.dialDTLS(s.udp[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := func(c net.Conn) {
		t.Helper()
		if err := closed(c, patience); strings.Contains(err.Error(), "still open") {
			t.Error(err)
		}
	}
	panics := uint64(0)
	for what, provoke := range map[string]func(){
		"serving TCP": func() {
			c := s.dialTCP(s.tcp[0], poisonous.String())
			_, _ = c.Write(question(1))
			ended(c)
		},
		"serving TLS": func() {
			if c, err := s.dialTLS(s.tcp[0], poisonous.String(), nil); err == nil {
				ended(c)
			}
		},
		"serving DTLS": func() {
			if _, err := s.dialDTLS(s.udp[0], poisonSocket()); err != nil {
				t.Error(err)
			}
		},
		"a handshake of TLS": func() {
			if _, err := s.dialTLS(s.tcp[0], "", &tls.Config{ServerName: "poison"}); err == nil {
				t.Error("the handshake was done")
			}
		},
		"a handshake of DTLS": func() {
			if _, err := s.dialDTLS(s.udp[0], nil, dtls.WithServerName("poison")); err == nil {
				t.Error("the handshake was done")
			}
		},
		"accepting": func() {
			broken.Store(true)
			defer broken.Store(false)
			if c, err := dialFrom(s.tcp[0], ""); err == nil {
				ended(c)
				_ = c.Close()
			}
		},
		"a datagram of DTLS": func() {
			broken.Store(true)
			defer broken.Store(false)
			s.halfDTLS(udpSocket(t), datagramHello(t))
			until(t, "it has come", func() bool { return s.stats().Panicked > panics })
		},
	} {
		provoke()
		until(t, what+" has panicked", func() bool { return s.stats().Panicked > panics })
		panics = s.stats().Panicked
		until(t, what+": the connection has ended", func() bool { return s.stats().Open == 3 })
		for _, c := range []net.Conn{plain, secure, overUDP} {
			s.mustAsk(c)
		}
		other := s.dialTCP(s.tcp[1], "127.0.0.9")
		s.mustAsk(other)
		_ = other.Close()
		until(t, what+": the other one is gone", func() bool { return s.stats().Open == 3 })
	}
	log := s.log.String()
	if n := strings.Count(log, "a mistake"); n != 1 || !strings.Contains(log, "stack=") {
		t.Errorf("%d lines are logged: %s", n, log)
	}
}

package turnsrv

import (
	"net"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// pion's own client, which shares no code with ours, allocates and relays over UDP and TCP.
func TestPionClient(t *testing.T) {
	s := startServer(t, nil)
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			var conn net.PacketConn
			if network == "udp" {
				c, err := net.ListenPacket("udp4", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				conn = c
			} else {
				c, err := net.Dial("tcp4", s.plain)
				if err != nil {
					t.Fatal(err)
				}
				conn = turn.NewSTUNConn(c)
			}
			defer conn.Close()
			cred, err := s.keys.Issue("pion", time.Hour, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			client, err := turn.NewClient(&turn.ClientConfig{
				STUNServerAddr: s.plain, TURNServerAddr: s.plain, Conn: conn, Username: cred.Username, Password: cred.Password,
				LoggerFactory: logging.NewDefaultLoggerFactory(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Listen(); err != nil {
				t.Fatal(err)
			}
			if _, err := client.SendBindingRequest(); err != nil {
				t.Fatal(err)
			}
			relayed, err := client.Allocate()
			if err != nil {
				t.Fatal(err)
			}
			peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			_ = peer.SetDeadline(time.Now().Add(20 * time.Second))
			_ = relayed.SetReadDeadline(time.Now().Add(20 * time.Second))
			buf := make([]byte, 100)
			// Nobody is there, and ICMP says so: told of that, pion's client would not read on.
			gone := closedPort(t)
			if _, err := relayed.WriteTo([]byte("ping"), gone); err != nil {
				t.Fatal(err)
			}
			// Longer than 4 bytes: pion's framing waits for a ninth byte of every frame.
			for range 3 { // an indication first, a channel later
				if _, err := relayed.WriteTo([]byte("ping"), peer.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				n, from, err := peer.ReadFrom(buf)
				if err != nil || string(buf[:n]) != "ping" || from.String() != relayed.LocalAddr().String() {
					t.Fatalf("the peer got %q from %v: %v", buf[:n], from, err)
				}
				if _, err := peer.WriteTo([]byte("pong, longer than 4 bytes"), from); err != nil {
					t.Fatal(err)
				}
				if n, from, err = relayed.ReadFrom(buf); err != nil || string(buf[:n]) != "pong, longer than 4 bytes" || from.String() != peer.LocalAddr().String() {
					t.Fatalf("the client got %q from %v: %v", buf[:n], from, err)
				}
			}
			if err := relayed.Close(); err != nil {
				t.Error(err)
			}
			eventually(t, "the allocation is given back", func() bool { return s.Live() == 0 })
		})
	}
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) net.Addr {
	t.Helper()
	port, err := freeports.Next()
	if err != nil {
		t.Fatal(err)
	}
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
}

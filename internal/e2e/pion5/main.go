// Pion5 has two clients of pion/turn v5 talk, relay to relay. It is a module of its own: the program has v4, for its tests.
//
// The argument is {"url", "count", "size", "every", "family", "relays", "users": [[username, password], twice]}; every is in
// milliseconds, 0 for as fast as it goes; family, IPv4 or IPv6, is that of the relayed addresses; relays are udp or tcp. It
// prints one line of JSON and stays, with its relays, until standard input ends. SSL_CERT_FILE has the certificate to trust.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/turn/v5"
)

type arguments struct {
	URL    string
	Count  int
	Size   int
	Every  int
	Family string
	Relays string
	Users  [2][2]string
}

type said struct {
	OK      bool   `json:"ok"`
	Version string `json:"version"`
	Error   string `json:"error,omitempty"`
	Ms      int64  `json:"ms"`
}

func main() {
	began := time.Now()
	ends, err := relay(os.Args[1])
	s := said{OK: err == nil, Version: version(), Ms: time.Since(began).Milliseconds()}
	if err != nil {
		s.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		os.Exit(1)
	}
	if !s.OK {
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, e := range ends {
		e.close()
	}
}

// end is one of the two: its relay, and what is below.
type end struct {
	client  *turn.Client
	conn    io.Closer
	relay   io.Closer
	address net.Addr       // of the relay
	packets net.PacketConn // of a UDP relay
	// Of a TCP relay: data is a new connection to the server each time, which becomes one to a peer.
	dial   func(data net.Conn, to net.Addr) (net.Conn, error)
	accept func(data net.Conn) (net.Conn, error)
}

func (e end) close() {
	if e.relay != nil {
		_ = e.relay.Close()
	}
	e.client.Close()
	_ = e.conn.Close()
}

func relay(text string) (ends []end, err error) {
	var a arguments
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return nil, err
	}
	if a.Relays == "tcp" {
		return tcpRelays(a)
	}
	return udpRelays(a)
}

// permit has each of two let the other in.
func permit(x, y end) error {
	return errors.Join(x.client.CreatePermission(y.address), y.client.CreatePermission(x.address))
}

func message(i, size int) []byte { return bytes.Repeat([]byte{byte(i % 251)}, size) }

func udpRelays(a arguments) (ends []end, err error) {
	for i := range a.Users {
		e, err := allocate(a, i)
		if err != nil {
			return ends, err
		}
		ends = append(ends, e)
	}
	x, y := ends[0], ends[1]
	if err := permit(x, y); err != nil {
		return ends, err
	}
	echoing := make(chan error, 1)
	go func() { echoing <- echo(y.packets) }()
	buf := make([]byte, a.Size+1)
	for i := range a.Count {
		want := message(i, a.Size)
		if _, err := x.packets.WriteTo(want, y.address); err != nil {
			return ends, fmt.Errorf("datagram %d: %w", i, err)
		}
		if err := x.packets.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return ends, err
		}
		n, from, err := x.packets.ReadFrom(buf)
		if err != nil {
			return ends, errors.Join(fmt.Errorf("datagram %d does not come back: %w", i, err), state(echoing))
		}
		if from.String() != y.address.String() || !bytes.Equal(buf[:n], want) {
			return ends, fmt.Errorf("datagram %d came back as another", i)
		}
		time.Sleep(time.Duration(a.Every) * time.Millisecond)
	}
	return ends, nil
}

func echo(c net.PacketConn) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(buf[:n], from); err != nil {
			return err
		}
	}
}

func state(ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	default:
		return nil
	}
}

func allocate(a arguments, i int) (end, error) {
	e, err := connect(a, i)
	if err != nil {
		return end{}, err
	}
	if e.packets, err = e.client.Allocate(); err != nil {
		e.close()
		return end{}, err
	}
	e.relay, e.address = e.packets, e.packets.LocalAddr()
	return e, nil
}

// connect makes the client of a user.
func connect(a arguments, i int) (end, error) {
	packets, server, err := dial(a.URL)
	if err != nil {
		return end{}, err
	}
	family := turn.RequestedAddressFamilyIPv4
	if a.Family == "IPv6" {
		family = turn.RequestedAddressFamilyIPv6
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: server, Conn: packets, Username: a.Users[i][0], Password: a.Users[i][1], RequestedAddressFamily: family,
	})
	if err == nil {
		err = client.Listen()
	}
	if err != nil {
		packets.Close()
		return end{}, err
	}
	return end{client: client, conn: packets}, nil
}

// dial reaches the server of a turn: or turns: URL.
func dial(url string) (packets net.PacketConn, server string, err error) {
	scheme, rest, _ := strings.Cut(url, ":")
	server, transport, _ := strings.Cut(rest, "?transport=")
	if scheme == "turn" && transport == "udp" {
		packets, err = net.ListenPacket("udp", ":0") //nolint:noctx // a short program
		return packets, server, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var conn net.Conn
	switch scheme + " " + transport {
	case "turn tcp":
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", server)
	case "turns tcp":
		conn, err = new(tls.Dialer).DialContext(ctx, "tcp", server)
	case "turns udp":
		conn, err = dialDTLS(ctx, server)
	default:
		err = fmt.Errorf("no transport for %s", url)
	}
	if err != nil {
		return nil, "", err
	}
	return turn.NewSTUNConn(conn), server, nil
}

func dialDTLS(ctx context.Context, server string) (net.Conn, error) {
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	conn, err := dtls.DialWithOptions("udp", to, dtls.WithRootCAs(roots), dtls.WithServerName(to.IP.String()))
	if err != nil {
		return nil, err
	}
	return conn, conn.HandshakeContext(ctx)
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, d := range info.Deps {
		if d.Path == "github.com/pion/turn/v5" {
			return strings.TrimPrefix(d.Version, "v")
		}
	}
	return "?"
}

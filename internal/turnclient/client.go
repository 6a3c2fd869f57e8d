// Package turnclient is a small TURN client over UDP, TCP, TLS and DTLS: what the doctor command, the load generator
// and the tests speak to a TURN server with. It shows every error code and lets the caller add or forge attributes,
// which is why it is not the library's own client.
package turnclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// ErrTimeout is returned when the server gave no answer in time.
var ErrTimeout = errors.New("no answer from the TURN server")

// ErrAnswer is returned when the server's answer does not fit what was asked.
var ErrAnswer = errors.New("unexpected answer")

// Error is an error response of the server.
type Error struct {
	Request stunmsg.Type
	Code    int    // 0: it named none
	Reason  string // in the server's words, which may hold anything
	// Alternate is where the server sends the client (ALTERNATE-SERVER of a 300), if it says so; whatever a stranger likes.
	Alternate netip.AddrPort
}

// Error names the request and the code.
func (e *Error) Error() string {
	if e.Code == 0 {
		return e.Request.String() + " refused without a code"
	}
	return fmt.Sprintf("%s refused with %d", e.Request, e.Code)
}

// Code is the STUN error code in err, or 0.
func Code(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// Options are the server to talk to, and the user as whom.
type Options struct {
	Transport string // udp, tcp, tls or dtls
	Family    string // 4 or 6: of the addresses that a name in Addr may stand for; empty: whichever
	Addr      string // host:port of the server
	Local     string // local host:port; empty for any
	Username  string
	Password  string
	TLS       *tls.Config   // tls and dtls; nil does not verify the server
	Timeout   time.Duration // of one request with its retransmissions; 0: 5 s
	Queue     int           // datagrams kept for Receive, more are dropped; 0: 1024
	// SHA256 has the client do as RFC 8489 says where the server offers it: a key by the first of PASSWORD-ALGORITHMS, and
	// the name as USERHASH. Otherwise it is a client of RFC 5389.
	SHA256 bool
}

// Datagram is one datagram from a peer.
type Datagram struct {
	Peer    netip.AddrPort // of a Data indication
	Channel uint16         // of ChannelData; 0 for a Data indication
	Data    []byte
}

// Client is one client 5-tuple. Its methods are safe for concurrent use.
type Client struct {
	o       Options
	conn    net.Conn
	packets bool

	mu      sync.Mutex
	waiting map[[12]byte]chan []byte
	realm   string
	nonce   []byte
	offer   offer // with Options.SHA256

	data    chan Datagram
	errors  chan PeerError
	dropped atomic.Uint64
	strange atomic.Pointer[[]byte] // see Strange
	ended   chan struct{}
	err     error // why reading ended; read after ended
}

// Dial connects, with the handshake of TLS or DTLS. The caller closes the Client.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	conn, err := dial(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s over %s: %w", o.Addr, o.Transport, err)
	}
	c := &Client{
		o: o, conn: conn, packets: o.Transport == "udp" || o.Transport == "dtls",
		waiting: make(map[[12]byte]chan []byte), data: make(chan Datagram, o.Queue), errors: make(chan PeerError, 16), ended: make(chan struct{}),
	}
	go c.read()
	return c, nil
}

func dial(ctx context.Context, o Options) (net.Conn, error) {
	var d net.Dialer
	network := "udp" + o.Family
	if o.Transport == "tcp" || o.Transport == "tls" {
		network = "tcp" + o.Family
	}
	if o.Local != "" {
		var err error
		if strings.HasPrefix(network, "udp") {
			d.LocalAddr, err = net.ResolveUDPAddr(network, o.Local)
		} else {
			d.LocalAddr, err = net.ResolveTCPAddr(network, o.Local)
		}
		if err != nil {
			return nil, err
		}
	}
	conn, err := d.DialContext(ctx, network, o.Addr)
	if err != nil {
		return nil, err
	}
	conf := o.TLS
	if conf == nil {
		conf = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the caller did not ask for a check
	}
	switch o.Transport {
	case "tls":
		t := tls.Client(conn, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return t, nil
	case "dtls":
		u, ok := conn.(*net.UDPConn)
		if !ok {
			return nil, errors.Join(errors.New("no UDP socket"), conn.Close())
		}
		t, err := dtls.ClientWithOptions(connected{u}, conn.RemoteAddr(),
			dtls.WithInsecureSkipVerify(conf.InsecureSkipVerify), dtls.WithRootCAs(conf.RootCAs), dtls.WithServerName(conf.ServerName))
		if err == nil {
			err = t.HandshakeContext(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return t, nil
	}
	return conn, nil
}

// connected lets pion/dtls write to a socket that is connected.
type connected struct{ *net.UDPConn }

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// Conn is the connection, for tests that send what no client should.
func (c *Client) Conn() net.Conn { return c.conn }

// LocalAddr is the client's own transport address.
func (c *Client) LocalAddr() netip.AddrPort {
	switch a := c.conn.LocalAddr().(type) {
	case *net.UDPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	case *net.TCPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// RemoteAddr is the address of the server, as far as this machine sees it.
func (c *Client) RemoteAddr() netip.AddrPort {
	switch a := c.conn.RemoteAddr().(type) {
	case *net.UDPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	case *net.TCPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// Close ends the connection without giving an allocation back, and waits for the reader.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.ended
	return err
}

// Ended is closed when the connection has ended, by whichever side.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Receive waits for the next datagram from a peer.
func (c *Client) Receive(ctx context.Context) (Datagram, error) {
	select {
	case d := <-c.data:
		return d, nil
	case <-ctx.Done():
		return Datagram{}, ctx.Err()
	case <-c.ended:
		return Datagram{}, fmt.Errorf("connection to the TURN server ended: %w", c.err)
	}
}

// Data is the queue that Receive reads from.
func (c *Client) Data() <-chan Datagram { return c.data }

func (c *Client) read() {
	defer close(c.ended)
	buf := make([]byte, 1<<16)
	for {
		n, err := c.frame(buf)
		if err != nil {
			c.err = err
			return
		}
		c.take(buf[:n])
	}
}

// frame reads one message: a datagram, or one frame of the stream.
func (c *Client) frame(buf []byte) (int, error) {
	if c.packets {
		for {
			n, err := c.conn.Read(buf)
			var timeout net.Error
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || // whoever takes over the connection ends the reader so
				!errors.As(err, &timeout) || !timeout.Temporary() { //nolint:staticcheck // ICMP errors of UDP
				return n, err
			}
		}
	}
	if _, err := io.ReadFull(c.conn, buf[:4]); err != nil {
		return 0, err
	}
	size, err := stunmsg.FrameSize(buf[:4])
	if err != nil {
		n := 4
		if c.conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)) == nil { // what else is on its way
			more, _ := c.conn.Read(buf[4:strangeLen])
			n += more
		}
		c.noteStrange(buf[:n])
		return 0, err
	}
	_, err = io.ReadFull(c.conn, buf[4:size])
	return size, err
}

func (c *Client) take(b []byte) {
	if number, data, ok := stunmsg.ParseChannelData(b); ok {
		c.queue(Datagram{Channel: number, Data: append([]byte(nil), data...)})
		return
	}
	var m stunmsg.Message
	if m.Parse(b) != nil {
		c.noteStrange(b)
		return
	}
	if m.Type == stunmsg.DataIndication {
		c.indicated(&m)
		return
	}
	id := [12]byte(m.TransactionID())
	c.mu.Lock()
	ch := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if ch != nil {
		ch <- append([]byte(nil), b...)
	}
}

// strangeLen is how much is kept of what is neither STUN nor ChannelData.
const strangeLen = 64

func (c *Client) noteStrange(b []byte) {
	kept := append([]byte(nil), b[:min(len(b), strangeLen)]...)
	c.strange.CompareAndSwap(nil, &kept)
}

// Strange is the beginning of the first thing that came and was neither STUN nor ChannelData; nil for none. A stream ends
// there.
func (c *Client) Strange() []byte {
	if b := c.strange.Load(); b != nil {
		return *b
	}
	return nil
}

// PeerCertificates is the chain that a server of TLS or DTLS showed, its own first, as DER; nil for other transports.
func (c *Client) PeerCertificates() (chain [][]byte) {
	switch t := c.conn.(type) {
	case *tls.Conn:
		for _, cert := range t.ConnectionState().PeerCertificates {
			chain = append(chain, cert.Raw)
		}
	case *dtls.Conn:
		if state, ok := t.ConnectionState(); ok {
			chain = state.PeerCertificates
		}
	}
	return chain
}

// NewID is a random transaction id.
func NewID() (id [12]byte) {
	_, _ = rand.Read(id[:])
	return id
}

// Exchange sends one message as it is, retransmitting over UDP, and waits for the answer with the same transaction id.
func (c *Client) Exchange(ctx context.Context, raw []byte) (*stunmsg.Message, error) {
	if len(raw) < stunmsg.HeaderSize {
		return nil, fmt.Errorf("no request to send: %w", stunmsg.ErrTooLarge)
	}
	id := [12]byte(raw[8:20])
	ch := make(chan []byte, 1)
	c.mu.Lock()
	c.waiting[id] = ch
	c.mu.Unlock()
	defer func() { c.mu.Lock(); delete(c.waiting, id); c.mu.Unlock() }()
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	wait := 500 * time.Millisecond
	for {
		if _, err := c.conn.Write(raw); err != nil {
			return nil, fmt.Errorf("sending to the TURN server: %w", err)
		}
		var again <-chan time.Time
		if c.packets {
			t := time.NewTimer(wait)
			defer t.Stop()
			again, wait = t.C, wait*2
		}
		select {
		case b := <-ch:
			m := new(stunmsg.Message)
			return m, m.Parse(b)
		case <-again:
		case <-c.ended:
			return nil, fmt.Errorf("connection to the TURN server ended: %w", c.err)
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return nil, fmt.Errorf("%w at %s over %s", ErrTimeout, c.o.Addr, c.o.Transport)
			}
			return nil, ctx.Err()
		}
	}
}

// lifetime reads LIFETIME as a duration.
func lifetime(m *stunmsg.Message) time.Duration {
	if v, ok := m.Get(stunmsg.AttrLifetime); ok && len(v) == 4 {
		return time.Duration(binary.BigEndian.Uint32(v)) * time.Second
	}
	return 0
}

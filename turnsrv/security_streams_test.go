//go:build unix

package turnsrv

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// oddFrames are headers with lengths that once wrapped in 16 bits, or that no frame may have.
func oddFrames() map[string][]byte {
	stun := func(length uint16, more int) []byte {
		b := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12+more)...)
		binary.BigEndian.PutUint16(b[2:], length)
		return b
	}
	channel := func(length uint16, more int) []byte {
		return append([]byte{0x40, 0, byte(length >> 8), byte(length)}, make([]byte, more)...)
	}
	return map[string][]byte{
		"STUN of 0xffec":             stun(0xffec, 16),
		"STUN of 0xfff0":             stun(0xfff0, 16),
		"STUN of 0xfffc":             stun(0xfffc, 16),
		"STUN of 0xffff":             stun(0xffff, 16),
		"STUN of 3":                  stun(3, 3),
		"channel of 0xfffc":          channel(0xfffc, 32),
		"channel of 0xfffd":          channel(0xfffd, 32),
		"channel of 0xffff":          channel(0xffff, 32),
		"channel of 0xffff and less": channel(0xffff, 0),
	}
}

// Case 1: no length makes a core spin. A stream is closed, since nothing behind such a header can be trusted; a DTLS
// record or datagram has an end of its own.
func TestCase01LengthsThatWrap(t *testing.T) {
	s := startServer(t, nil)
	before := s.traces(t)
	for name, frame := range oddFrames() {
		for _, transport := range transports {
			t.Run(name+" over "+transport, func(t *testing.T) {
				c := s.client(t, transport, s.tls, "n")
				busy := cpuTime(t)
				if _, err := c.Conn().Write(frame); err != nil {
					t.Fatal(err)
				}
				switch transport {
				case "tcp", "tls":
					select {
					case <-c.Ended():
					case <-time.After(20 * time.Second):
						t.Error("the connection stays open")
					}
				default:
					if _, err := c.Conn().Write(frame); err != nil {
						t.Fatal(err)
					}
				}
				if used := cpuTime(t) - busy; used > 5*time.Second {
					t.Errorf("%s of processor time", used)
				}
				_ = c.Close()
			})
		}
	}
	// A spinning core shows in what an idle moment costs.
	busy := cpuTime(t)
	time.Sleep(200 * time.Millisecond)
	if used := cpuTime(t) - busy; used > 180*time.Millisecond {
		t.Errorf("%s of processor time in 200 ms with nothing to do", used)
	}
	s.unharmed(t, before)
}

// cpuTime is the processor time of this process.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Case 2: 10 000 empty records end the association.
func TestCase02EmptyRecords(t *testing.T) {
	s := startServer(t, nil)
	before := s.traces(t)
	c, _ := s.allocated(t, "dtls", "n")
	for range 10_000 {
		if _, err := c.Conn().Write(nil); err != nil {
			break
		}
	}
	eventually(t, "the association and its allocation have ended", func() bool { return s.Streams().Open == 0 && s.Live() == 0 })
	_ = c.Close()
	s.unharmed(t, before)
}

// Case 3: 2 000 ClientHellos that nothing follows leave nothing behind, and an honest client is served meanwhile.
func TestCase03HellosThatNothingFollows(t *testing.T) {
	s := startServer(t, nil)
	hello := datagramHello(t)
	before := s.traces(t)
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.tls))
	var flood []*net.UDPConn
	for range 2000 {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
		if _, err := c.WriteTo(hello, to); err != nil {
			t.Fatal(err)
		}
	}
	honest, _ := s.allocated(t, "dtls", "honest")
	if got := s.Streams(); got.Open != 1 || got.HalfOpen != 0 {
		t.Errorf("hellos take places: %+v", got)
	}
	if _, err := honest.Refresh(within(t), 0); err != nil {
		t.Error(err)
	}
	_ = honest.Close()
	for _, c := range flood {
		_ = c.Close()
	}
	s.unharmed(t, before)
}

// panicky is a Directory with a mistake in it.
type panicky struct{ nobody }

func (panicky) Banned(node string) bool {
	if node == "poison" {
		panic("a mistake")
	}
	return false
}

// Case E: an empty XOR-PEER-ADDRESS does no harm, in an indication or a request. Should any message make its handling
// panic all the same, its client is cut off, and nobody else notices.
func TestCaseEEmptyPeerAddress(t *testing.T) {
	log := &logtest.Buffer{}
	s := startServer(t, func(c *Config) {
		c.Nodes = panicky{}
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	before := s.traces(t)
	other, _ := s.allocated(t, "tcp", "other")
	sock, peer := listenUDP(t, "127.0.0.1:0")
	if err := other.Bind(within(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	for i, transport := range transports {
		c, _ := s.allocated(t, transport, "n")
		for size := range 25 {
			id := turnclient.NewID()
			peer := func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrXORPeerAddress, make([]byte, size)) }
			send := stunmsg.Begin(nil, stunmsg.SendIndication, id[:])
			peer(send)
			must(c.Conn().Write(send.Attr(stunmsg.AttrData, []byte("x")).Bytes()))(t)
			_, err := c.Do(within(t), stunmsg.CreatePermissionRequest, peer)
			if code := turnclient.Code(err); code < 400 || code > 499 {
				t.Errorf("%s: a peer of %d bytes: %v", transport, size, err)
			}
		}
		if n := s.Panics(); n != uint64(i) {
			t.Errorf("%s: %d panics: %s", transport, n, log)
		}
		cred := must(s.keys.Issue("poison", time.Hour, time.Now()))(t)
		f := forgery{stunmsg.RefreshRequest, cred.Username, "crolang", cred.Password, c.Nonce(), false, nil}
		must(c.Conn().Write(f.bytes()))(t)
		eventually(t, "the client's allocation has ended", func() bool { return s.Live() == 1 })
		if transport != "udp" {
			eventually(t, "its connection has ended", func() bool { return s.Streams().Open == 1 })
		}
		_ = c.Close()
		echoes(t, other, 0x4000, sock, "still there")
	}
	if n := s.Panics(); n != uint64(len(transports)) {
		t.Errorf("%d panics were stopped", n)
	}
	must(other.Refresh(within(t), 0))(t)
	_, _ = other.Close(), sock.Close()
	if n := strings.Count(log.String(), "please report this"); n != 1 {
		t.Errorf("%d lines: %s", n, log)
	}
	s.unharmed(t, before)
}

// Case 6: what is larger than any network carries is closed or dropped, and the next client is served.
func TestCase06FramesAboveTheMTU(t *testing.T) {
	s := startServer(t, nil)
	before := s.traces(t)
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			most := map[string]int{"udp": 65507, "tcp": 65000, "tls": 65000, "dtls": 8000}[transport]
			c, _ := s.allocated(t, transport, transport)
			sock, peer := listenUDP(t, "127.0.0.1:0")
			if err := c.Bind(within(t), 0x4000, peer); err != nil {
				t.Fatal(err)
			}
			echoes(t, c, 0x4000, sock, "before")
			id := turnclient.NewID()
			for _, frame := range [][]byte{
				c.Frame(nil, 0x4000, bytes.Repeat([]byte{1}, most-4)),
				stunmsg.Begin(nil, stunmsg.SendIndication, id[:]).XORAddr(stunmsg.AttrXORPeerAddress, peer).
					Attr(stunmsg.AttrData, make([]byte, most-36-most%4)).Bytes(),
				stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Attr(stunmsg.AttrSoftware, make([]byte, most-24-most%4)).Bytes(),
			} {
				_, _ = c.Conn().Write(frame) // may be refused here already
			}
			_ = c.Close()
			next, _ := s.allocated(t, transport, transport)
			sock, peer = listenUDP(t, "127.0.0.1:0")
			if err := next.Bind(within(t), 0x4000, peer); err != nil {
				t.Fatal(err)
			}
			echoes(t, next, 0x4000, sock, "after")
			_, _ = next.Refresh(within(t), 0)
			_ = next.Close()
		})
	}
	for _, a := range s.Allocations() { // the first UDP client left its own
		s.CloseAllocation(a.ID, "the test ends")
	}
	s.unharmed(t, before)
}

// Case 7: more connections than an address may have are refused, and another address is served.
func TestCase07ConnectionsOfOneAddress(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Settings.ConnectionsPerIP = 4 })
	dial := func(local string) (*turnclient.Client, error) {
		c, err := turnclient.Dial(within(t), turnclient.Options{Transport: "tcp", Addr: s.plain, Local: local})
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = c.Close() })
		_, err = c.Binding(within(t))
		return c, err
	}
	var first *turnclient.Client
	for range 4 {
		c, err := dial("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		first = c
	}
	if _, err := dial("127.0.0.1:0"); err == nil {
		t.Error("a fifth connection is served")
	}
	if _, err := dial("127.0.0.2:0"); err != nil {
		t.Errorf("another address: %v", err)
	}
	_ = first.Close()
	eventually(t, "the place is given back", func() bool { _, err := dial("127.0.0.1:0"); return err == nil })
}

// Case 8: a client that reads nothing while its peers send loses its data, and nobody else slows down.
func TestCase08ClientThatReadsNothing(t *testing.T) {
	s := startServer(t, nil)
	before := s.traces(t)
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			// The honest client shares the flooded one's transport.
			honest, _ := s.allocated(t, transport, "honest")
			sock, peer := listenUDP(t, "127.0.0.1:0")
			if err := honest.Bind(within(t), 0x4001, peer); err != nil {
				t.Fatal(err)
			}
			flood, from := listenUDP(t, "127.0.0.1:0")
			deaf, relayed := s.deafClient(t, transport, "deaf", from)
			payload := make([]byte, 1200)
			for round := range 20 {
				for range 1000 {
					_, _ = flood.WriteToUDPAddrPort(payload, relayed)
				}
				begun := time.Now()
				echoes(t, honest, 0x4001, sock, "still here")
				if took := time.Since(begun); took > 5*time.Second {
					t.Errorf("round %d: a datagram took %s there and back", round, took)
				}
			}
			// The kernel drops some of a flood before us: go on until the client's buffers are full.
			// How much the kernel takes for a client that does not read is its own business.
			eventually(t, "data is dropped", func() bool {
				for range 100 {
					_, _ = flood.WriteToUDPAddrPort(payload, relayed)
				}
				for _, a := range s.Allocations() {
					if a.Node == "deaf" {
						return a.Stats.Down.Dropped > 0
					}
				}
				return true // closed already, which is right too
			})
			_ = deaf.Close()
			_ = honest.Close()
			eventually(t, "both allocations have ended", func() bool { return s.Live() == 0 })
		})
	}
	s.unharmed(t, before)
}

// deafClient has an allocation with a channel over a stream, and reads nothing any more.
func (s *testServer) deafClient(t *testing.T, transport, node string, peer netip.AddrPort) (net.Conn, netip.AddrPort) {
	t.Helper()
	conn := must((&net.Dialer{Timeout: patience, Control: smallReceiveBuffer}).Dial("tcp", s.plain))(t)
	if transport == "tls" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { _ = conn.Close() })
	cred := must(s.keys.Issue(node, time.Hour, time.Now()))(t)
	var nonce []byte
	ask := func(typ stunmsg.Type, add func(*stunmsg.Builder)) *stunmsg.Message {
		id := turnclient.NewID()
		w := stunmsg.Begin(nil, typ, id[:])
		add(w)
		if nonce != nil {
			key := credential.Key(cred.Username, "crolang", cred.Password)
			w.String(stunmsg.AttrUsername, cred.Username).String(stunmsg.AttrRealm, "crolang").Attr(stunmsg.AttrNonce, nonce).Integrity(key[:])
		}
		must(conn.Write(w.Bytes()))(t)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 4, 1<<10)
		must(io.ReadFull(conn, b))(t)
		b = b[:must(stunmsg.FrameSize(b))(t)]
		must(io.ReadFull(conn, b[4:]))(t)
		m := new(stunmsg.Message)
		if err := m.Parse(b); err != nil {
			t.Fatal(err)
		}
		return m
	}
	udp := func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}) }
	nonce, _ = ask(stunmsg.AllocateRequest, udp).Get(stunmsg.AttrNonce)
	m := ask(stunmsg.AllocateRequest, udp)
	v, _ := m.Get(stunmsg.AttrXORRelayedAddress)
	relayed := must(stunmsg.XORAddr(v, m.TransactionID()))(t)
	if m = ask(stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrChannelNumber, []byte{0x40, 0, 0, 0}).XORAddr(stunmsg.AttrXORPeerAddress, peer)
	}); m.Type != stunmsg.ChannelBindRequest.Success() {
		t.Fatalf("ChannelBind: %x", m.Raw)
	}
	return conn, relayed
}

func smallReceiveBuffer(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
}

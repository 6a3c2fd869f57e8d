package turnsrv

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// tcpCaller is a client with a TCP relay, and a peer that sends back what it reads.
type tcpCaller struct {
	s    *testServer
	c    *turnclient.Client
	peer *net.TCPListener
}

func newTCPCaller(t testing.TB) *tcpCaller {
	t.Helper()
	s := startServer(t, offersTCP)
	l, _ := tcpPeer(t)
	go func() {
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return &tcpCaller{s: s, peer: l}
}

// ready sees to it that there is a control connection that is answered, with one allocation.
func (x *tcpCaller) ready(t testing.TB) {
	t.Helper()
	if x.c != nil {
		if _, err := x.c.Binding(within(t)); err != nil {
			select {
			case <-x.c.Ended(): // what was sent was no STUN, or ended it
				x.c = nil
			default:
				t.Fatalf("the server does not answer: %v", err)
			}
		}
	}
	if x.c == nil {
		eventually(t, "the allocation has ended with its connection", func() bool { return x.s.Live() == 0 })
		x.c = x.s.client(t, "tcp", x.s.plain, "n")
	}
	switch live := x.s.Live(); {
	case live > 1:
		t.Fatalf("%d allocations of one client", live)
	case live == 0:
		if _, err := x.c.AllocateTCP(within(t), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range x.s.Allocations() {
		if a.Peers > 64 {
			t.Fatalf("%d connections of one allocation", a.Peers)
		}
	}
}

// odd adds attributes: type, length of the value in one byte, value.
func odd(b []byte) func(w *stunmsg.Builder) {
	return func(w *stunmsg.Builder) {
		for len(b) >= 3 {
			n := min(int(b[2]), len(b)-3)
			w.Attr(binary.BigEndian.Uint16(b), b[3:3+n])
			b = b[3+n:]
		}
	}
}

// binds sends a ConnectionBind over a connection of its own, and data behind it, and reads what comes until the end.
func (x *tcpCaller) binds(t testing.TB, add func(w *stunmsg.Builder), data []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", x.s.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = conn.Write(append(x.c.Build(stunmsg.ConnectionBindRequest, add), data...))
	_ = conn.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is neither answered nor ended")
	}
}

// What a client with a TCP relay asks for, on its control connection and on others, also once peers are connected: the server
// serves on, and it has one allocation and 64 connections at most.
func FuzzTCPRelay(f *testing.F) {
	x := newTCPCaller(f)
	const asks, connects, joins, binds = 0, 1 << 14, 2 << 14, 3 << 14
	f.Add(uint16(asks|stunmsg.RefreshRequest), []byte{0, 0x0d, 4, 0, 0, 0, 0})
	f.Add(uint16(asks|stunmsg.ConnectRequest), []byte{0, 0x12, 8, 0, 1, 0, 0, 0, 0, 0, 0})
	f.Add(uint16(asks|stunmsg.ConnectionBindRequest), []byte{0, 0x2a, 4, 0, 0, 0, 1})
	f.Add(uint16(asks|stunmsg.ChannelBindRequest), []byte{0, 0x0c, 4, 0x40, 0, 0, 0})
	f.Add(uint16(asks|stunmsg.AllocateRequest), []byte{0, 0x19, 4, 6, 0, 0, 0})
	f.Add(uint16(connects), []byte{})
	f.Add(uint16(connects), []byte{0, 0x2a, 4, 0, 0, 0, 1})
	f.Add(uint16(connects), []byte{0x7f, 0, 1, 1})
	f.Add(uint16(joins), []byte{})
	f.Add(uint16(joins), []byte{0, 0x2a, 3, 0, 0, 1})
	f.Add(uint16(joins|1), []byte{0x40, 0, 0, 4, 1, 2, 3, 4})
	f.Add(uint16(binds), []byte{0, 0x2a, 4, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint16(binds|1), []byte{0, 0x2a, 0, 0, 1, 0, 0})
	n := 0
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		if len(body) > 1000 {
			return
		}
		x.ready(t)
		if n++; n%1000 == 0 { // for a new nonce
			_, _ = x.c.Refresh(within(t), time.Minute)
		}
		peer := x.peer.Addr().(*net.TCPAddr).AddrPort()
		switch kind & binds {
		case asks:
			_, _ = x.c.Conn().Write(x.c.Build(stunmsg.Type(kind&0x03ff), odd(body)))
		case connects:
			_, _ = x.c.Conn().Write(x.c.Build(stunmsg.ConnectRequest, func(w *stunmsg.Builder) {
				w.XORAddr(stunmsg.AttrXORPeerAddress, peer)
				odd(body)(w)
			}))
		case joins:
			id, err := x.c.Connect(within(t), peer)
			if err != nil && turnclient.Code(err) != 446 {
				t.Fatal(err)
			}
			if kind&1 == 0 {
				x.binds(t, func(w *stunmsg.Builder) { odd(body)(w.Uint32(stunmsg.AttrConnectionID, id)) }, nil)
			} else {
				x.binds(t, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrConnectionID, id) }, body)
			}
		case binds:
			x.binds(t, odd(body), body)
		}
		x.ready(t)
	})
}

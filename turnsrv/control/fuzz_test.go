package control

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// attributes reads a list of them: type, length of the value in one byte, value.
func attributes(b []byte) func(w *stunmsg.Builder) {
	return func(w *stunmsg.Builder) {
		for len(b) >= 3 {
			t, n := binary.BigEndian.Uint16(b), min(int(b[2]), len(b)-3)
			w.Attr(t, b[3:3+n])
			b = b[3+n:]
		}
	}
}

// Whatever an authenticated client asks for, the server answers it and serves on, and the client has one allocation at most.
func FuzzRequest(f *testing.F) {
	r := newRig(f, nil)
	c := r.client(f, "n", 10_000*time.Hour)
	if _, err := c.Allocate(within(f), turnclient.Both); err != nil {
		f.Fatal(err)
	}
	txid := make([]byte, 12)
	address := func(port uint16) []byte {
		w := stunmsg.Begin(nil, stunmsg.AllocateRequest, txid).XORAddr(stunmsg.AttrXORPeerAddress, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
		return append([]byte{0, 0x12, 8}, w.Bytes()[24:]...)
	}
	f.Add(uint16(stunmsg.AllocateRequest), []byte{0, 0x19, 4, 17, 0, 0, 0, 0, 0x1a, 0, 0, 0x0d, 4, 0, 0, 0, 1})
	f.Add(uint16(stunmsg.RefreshRequest), []byte{0, 0x0d, 4, 0, 0, 0, 0})
	f.Add(uint16(stunmsg.RefreshRequest), []byte{0, 0x17, 4, 1, 0, 0, 0})
	f.Add(uint16(stunmsg.RefreshRequest), []byte{0, 0x17, 4, 2, 0, 0, 0, 0, 0x0d, 4, 0, 0, 0, 0})
	f.Add(uint16(stunmsg.AllocateRequest), []byte{0, 0x19, 4, 17, 0, 0, 0, 0x80, 0, 4, 2, 0, 0, 0})
	f.Add(uint16(stunmsg.AllocateRequest), []byte{0, 0x19, 4, 17, 0, 0, 0, 0x80, 0, 4, 2, 0, 0, 0, 0, 0x18, 1, 0x80})
	f.Add(uint16(stunmsg.AllocateRequest), []byte{0, 0x19, 4, 17, 0, 0, 0, 0x80, 0x30, 0})
	f.Add(uint16(stunmsg.RefreshRequest), []byte{0x80, 0x30, 0})
	f.Add(uint16(stunmsg.RefreshRequest), append([]byte{0x80, 0x30, 32}, r.tickets.seal(1, 0)...))
	f.Add(uint16(stunmsg.RefreshRequest), append([]byte{0, 0x0d, 4, 0, 0, 0, 0, 0x80, 0x30, 32}, r.tickets.seal(1, 1)...))
	f.Add(uint16(stunmsg.CreatePermissionRequest), append(address(9), address(0)...))
	f.Add(uint16(stunmsg.ChannelBindRequest), append([]byte{0, 0x0c, 4, 0x7f, 0xff, 0, 0}, address(9)...))
	f.Add(uint16(stunmsg.ConnectRequest), address(9))
	f.Add(uint16(stunmsg.BindingRequest), []byte{0x7f, 0, 0})
	n := 0
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		r.clock.add(time.Second) // rates and limits are other tests'
		if n++; n%1000 == 0 {
			if _, err := c.Refresh(within(t), time.Minute); err != nil && r.Live() > 0 { // learns a new nonce
				t.Fatal(err)
			}
		}
		raw := c.Build(stunmsg.Type(kind&0x3fff), attributes(body))
		if len(raw) == 0 || len(raw) > 1400 {
			return
		}
		before := r.handled.Load()
		if _, err := c.Conn().Write(raw); err != nil {
			t.Fatal(err)
		}
		if stunmsg.Type(kind&0x3fff) != stunmsg.SendIndication {
			eventually(t, "it is handled", func() bool { return r.handled.Load() > before })
		}
		if _, err := c.Binding(within(t)); err != nil {
			t.Fatalf("the server does not answer: %v", err)
		}
		switch live := r.Live(); {
		case live > 1:
			t.Fatalf("%d allocations of one client", live)
		case live == 0:
			if _, err := c.Allocate(within(t), turnclient.Both); err != nil {
				t.Fatal(err)
			}
		}
	})
}

package control

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
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
	r := newRig(f, settings(Settings{SHA256: true, MaxSession: 20_000 * time.Hour}))
	clients := []*turnclient.Client{r.client(f, "n", 10_000*time.Hour), r.modern(f, r.issue(f, "m", 10_000*time.Hour))}
	for _, c := range clients {
		if _, err := c.Allocate(within(f), turnclient.Both); err != nil {
			f.Fatal(err)
		}
	}
	const modern = 0x4000 // in kind: the client of RFC 8489 asks
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
	f.Add(uint16(stunmsg.RefreshRequest|modern), []byte{0, 0x0d, 4, 0, 0, 0, 0})
	f.Add(uint16(stunmsg.RefreshRequest|modern), []byte{0, 0x1d, 4, 0, 2, 0, 0, 0x80, 2, 8, 0, 2, 0, 0, 0, 1, 0, 0})
	f.Add(uint16(stunmsg.RefreshRequest), append([]byte{0, 0x1e, 32}, make([]byte, 32)...))
	f.Add(uint16(stunmsg.CreatePermissionRequest|modern), append([]byte{0, 0x1c, 32}, make([]byte, 32)...))
	f.Add(uint16(stunmsg.BindingRequest), []byte{0, 3, 4, 0, 0, 0, 6})
	f.Add(uint16(stunmsg.BindingRequest), []byte{0, 0x27, 2, 0, 9, 0, 3, 4, 0, 0, 0, 2})
	f.Add(uint16(stunmsg.BindingRequest), []byte{0, 0x27, 4, 0, 9, 0, 0, 0, 0x26, 3, 1, 2, 3})
	// Its one address stands for all four: answers to other ports leave, and those from elsewhere come from here.
	at := clients[0].RemoteAddr()
	ip, port := Place[netip.Addr]{at.Addr(), at.Addr()}, Place[uint16]{at.Port(), at.Port()}
	r.Discover([]Discovery{{IPs: [2]Place[netip.Addr]{ip, ip}, Ports: [2]Place[uint16]{port, port}}})
	n := 0
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		r.clock.add(time.Second) // rates and limits are other tests'
		c := clients[kind/modern%2]
		if n++; n%1000 == 0 {
			for _, c := range clients {
				if _, err := c.Refresh(within(t), time.Minute); err != nil && turnclient.Code(err) != 437 { // learns a new nonce
					t.Fatal(err)
				}
			}
		}
		// Beyond 0x03ff it would not be taken for STUN (RFC 7983 §7).
		raw := c.Build(stunmsg.Type(kind&0x03ff), attributes(body))
		if len(raw) == 0 || len(raw) > 1400 {
			return
		}
		before := r.handled.Load()
		if _, err := c.Conn().Write(raw); err != nil {
			t.Fatal(err)
		}
		if stunmsg.Type(kind&0x03ff) != stunmsg.SendIndication && stunmsg.IsSTUN(raw) {
			eventually(t, "it is handled", func() bool { return r.handled.Load() > before })
		}
		if _, err := c.Binding(within(t)); err != nil {
			t.Fatalf("the server does not answer: %v", err)
		}
		switch live := r.Live(); {
		case live > 2:
			t.Fatalf("%d allocations of two clients", live)
		case live < 2:
			if _, err := c.Allocate(within(t), turnclient.Both); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Whatever somebody says about who he is, a server with SHA256 on answers in at most 96 bytes, unless he is who he says, and
// keeps nothing of it.
func FuzzClaim(f *testing.F) {
	r := newRig(f, settings(Settings{SHA256: true}))
	c := r.modern(f, credential.Credential{})
	cred := r.issue(f, "n", 10_000*time.Hour)
	md, sha := credential.MD5.Key(cred.Username, rigRealm, cred.Password), credential.SHA256.Key(cred.Username, rigRealm, cred.Password)
	hash := credential.Userhash(cred.Username, rigRealm)
	kept := r.keys.Kept()
	user := append([]byte{0, 0x06, byte(len(cred.Username))}, cred.Username...)
	hashed := append([]byte{0, 0x1e, 32}, hash[:]...)
	realm := append([]byte{0, 0x14, byte(len(rigRealm))}, rigRealm...)
	chosen := []byte{0x80, 2, 8, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0x1d, 4, 0, 2, 0, 0}
	f.Add(slices.Concat(user, realm), byte(1))
	f.Add(slices.Concat(hashed, realm, chosen), byte(2|4))
	f.Add(slices.Concat(hashed, realm, chosen), byte(1|2|4))
	f.Add(slices.Concat(user, realm, chosen[:12]), byte(1|2))
	f.Add(slices.Concat(user, hashed, realm), byte(2))
	f.Add(slices.Concat(hashed, realm, chosen[12:]), byte(2|8))
	f.Add(slices.Concat(hashed[:20], realm, chosen), byte(8))
	f.Fuzz(func(t *testing.T, body []byte, flags byte) {
		r.clock.add(time.Second)
		first, _ := answered(t, c, say{typ: stunmsg.RefreshRequest}.bytes())
		nonce := nonceOf(t, first, bothFeatures)
		q := say{typ: stunmsg.RefreshRequest, add: attributes(body), nonce: nonce}
		key := md
		if flags&4 != 0 {
			key = sha
		}
		if flags&1 != 0 {
			q.sha1 = key
		}
		if flags&2 != 0 {
			q.sha2 = key
		}
		if flags&8 != 0 {
			q.raw2 = body
		}
		raw := q.bytes()
		var parsed stunmsg.Message
		if len(raw) > 1400 || parsed.Parse(raw) != nil || !parsed.CheckFingerprint() {
			return // it has no answer
		}
		m, code := answered(t, c, raw)
		known := m.CheckIntegrity(md) || m.CheckIntegrity(sha) || m.CheckIntegritySHA256(md) || m.CheckIntegritySHA256(sha)
		if code == 0 || !known && (code != 400 && code != 401 && code != 438 || len(m.Raw) > 96) {
			t.Fatalf("%d, %x", code, m.Raw)
		}
		if flags&3 == 0 && known || r.keys.Kept() != kept || r.Live() != 0 {
			t.Fatalf("%d, %d names, %d live", code, r.keys.Kept(), r.Live())
		}
	})
}

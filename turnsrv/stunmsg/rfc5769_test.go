package stunmsg

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The test vectors of RFC 5769.
const (
	vectorRequest = `00010058 2112a442 b7e7a701bc34d686fa87dfae 80220010 5354554e 20746573 7420636c 69656e74
		00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
		00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf`
	vectorResponse4 = `0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 74657374 20766563 746f7220
		00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96`
	vectorResponse6 = `01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 74657374 20766563 746f7220
		00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
		80280004 c8fb0b4c`
	vectorLongTerm = `00010060 2112a442 78ad3433c6ad72c029da412e 00060012 e3839ee3 8388e383 aae38383 e382af e382b9 0000
		0015001c 662f2f34 39396b39 3534 64364f4c 33346f4c 39465354 76793634 7341
		0014000b 6578616d 706c652e 6f7267 00
		00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666`
	vectorPassword = "VOkJxbRl1RmTxUk/WvJxBt"
)

func TestRFC5769Messages(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		mapped    string
	}{
		{"2.1 request", vectorRequest, ""},
		{"2.2 IPv4 response", vectorResponse4, "192.0.2.1:32853"},
		{"2.3 IPv6 response", vectorResponse6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := unhex(t, c.hex)
			var m Message
			if err := m.Parse(raw); err != nil {
				t.Fatal(err)
			}
			if !m.HasFingerprint() || !m.CheckFingerprint() {
				t.Error("FINGERPRINT is not accepted")
			}
			if !m.CheckIntegrity([]byte(vectorPassword)) || m.CheckIntegrity([]byte("wrong")) {
				t.Error("MESSAGE-INTEGRITY is not told apart")
			}
			if c.mapped == "" {
				return
			}
			v, ok := m.Get(AttrXORMappedAddress)
			if !ok {
				t.Fatal("no XOR-MAPPED-ADDRESS")
			}
			a, err := XORAddr(v, m.TransactionID())
			if err != nil || a != netip.MustParseAddrPort(c.mapped) {
				t.Errorf("XOR-MAPPED-ADDRESS = %v, %v", a, err)
			}
			software, _ := m.Get(AttrSoftware)
			built := Begin(nil, m.Type, m.TransactionID()).Attr(AttrSoftware, software).
				XORAddr(AttrXORMappedAddress, a).Integrity([]byte(vectorPassword)).Fingerprint().Bytes()
			// The vectors pad with spaces, we with zeros: compare what comes before the padding, and check the rest.
			if !bytes.Equal(built[:35], raw[:35]) || len(built) != len(raw) {
				t.Errorf("built  %x\nvector %x", built, raw)
			}
			if m.Parse(built) != nil || !m.CheckFingerprint() || !m.CheckIntegrity([]byte(vectorPassword)) {
				t.Error("what was built is not accepted")
			}
		})
	}
}

func TestRFC5769LongTerm(t *testing.T) {
	raw := unhex(t, vectorLongTerm)
	var m Message
	if err := m.Parse(raw); err != nil {
		t.Fatal(err)
	}
	realm, _ := m.Get(AttrRealm)
	key := md5.Sum([]byte("\u30de\u30c8\u30ea\u30c3\u30af\u30b9:" + string(realm) + ":TheMatrIX"))
	if string(realm) != "example.org" || !m.CheckIntegrity(key[:]) {
		t.Errorf("the long-term vector is not accepted (realm %q)", realm)
	}
}

func TestParseRefuses(t *testing.T) {
	good := Begin(nil, BindingRequest, make([]byte, 12)).Attr(AttrUsername, []byte("abc")).Bytes()
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"short", func(b []byte) []byte { return b[:19] }},
		{"cookie", func(b []byte) []byte { b[4] = 0; return b }},
		{"first bits", func(b []byte) []byte { b[0] |= 0x40; return b }},
		{"length beyond", func(b []byte) []byte { b[3] += 4; return b }},
		{"length not of four", func(b []byte) []byte { b[3]--; return b }},
		{"bytes behind", func(b []byte) []byte { return append(b, 0, 0, 0, 0) }},
		{"attribute beyond", func(b []byte) []byte { b[23] = 5; return b }},
		{"integrity length", func(b []byte) []byte { b[21] = 8; return b }},
		{"fingerprint not last", func(b []byte) []byte {
			return Begin(nil, BindingRequest, make([]byte, 12)).Fingerprint().Attr(AttrData, nil).Bytes()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if m.Parse(c.edit(bytes.Clone(good))) == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestAttributesBehindIntegrityAreIgnored(t *testing.T) {
	raw := Begin(nil, AllocateRequest, make([]byte, 12)).String(AttrUsername, "u").Integrity([]byte("k")).
		String(AttrRealm, "late").Bytes()
	var m Message
	if err := m.Parse(raw); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Get(AttrRealm); ok {
		t.Error("an attribute behind MESSAGE-INTEGRITY counts")
	}
	if !m.CheckIntegrity([]byte("k")) {
		t.Error("integrity is refused because of what follows it")
	}
}

func TestFrameSize(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want int
		ok   bool
	}{
		{"STUN", []byte{0, 1, 0, 8}, 28, true},
		{"STUN with a wrong cookie", []byte{0, 1, 0, 8, 1, 2, 3, 4}, 0, false},
		{"STUN whose size wraps in 16 bits", []byte{0, 1, 0xff, 0xec}, 0, false},
		{"STUN of an odd length", []byte{0, 1, 0, 9}, 0, false},
		{"ChannelData, padded", []byte{0x40, 0, 0, 5}, 12, true},
		{"empty ChannelData", []byte{0x4f, 0xff, 0, 0}, 4, true},
		{"ChannelData whose size wraps", []byte{0x40, 0, 0xff, 0xfd}, 0, false},
		{"a channel of RFC 5766", []byte{0x50, 0, 0, 4}, 8, true},
		{"the last channel of RFC 5766", []byte{0x7f, 0xff, 0, 1}, 8, true},
		{"beyond all channels", []byte{0x80, 0, 0, 4}, 0, false},
		{"TLS", []byte{0x16, 3, 1, 0}, 0, false},
		{"HTTP, which reads as ChannelData: streams take none as long from strangers", []byte("GET "), 21540, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := FrameSize(c.b)
			if n != c.want || (err == nil) != c.ok {
				t.Errorf("FrameSize = %d, %v", n, err)
			}
		})
	}
}

func TestSendAndDataRoundTrip(t *testing.T) {
	for _, peer := range []string{"192.0.2.7:4242", "[2001:db8::7]:1"} {
		p, txid := netip.MustParseAddrPort(peer), [12]byte{1, 2, 3}
		for n := range 9 {
			data := bytes.Repeat([]byte{7}, n)
			b, ok := AppendDataHeader(nil, p, n, &txid)
			if !ok {
				t.Fatal("refused")
			}
			b = append(b, data...)
			b = append(b, make([]byte, DataPadding(n))...)
			var m Message
			if err := m.Parse(b); err != nil || m.Type != DataIndication {
				t.Fatalf("%s, %d bytes: %v", peer, n, err)
			}
			b[1] = byte(SendIndication)
			got, ok := ParseSend(b)
			if !ok || got.Peer != p || !bytes.Equal(got.Data, data) || got.DontFragment {
				t.Errorf("%s, %d bytes: %+v %v", peer, n, got, ok)
			}
		}
	}
	df := Begin(nil, SendIndication, make([]byte, 12)).XORAddr(AttrXORPeerAddress, netip.MustParseAddrPort("192.0.2.7:1")).
		Attr(AttrDontFragment, nil).Attr(AttrData, []byte("x")).Bytes()
	if s, ok := ParseSend(df); !ok || !s.DontFragment || string(s.Data) != "x" {
		t.Errorf("a Send with DONT-FRAGMENT: %+v, %v", s, ok)
	}
	unknown := Begin(nil, SendIndication, make([]byte, 12)).XORAddr(AttrXORPeerAddress, netip.MustParseAddrPort("192.0.2.7:1")).
		Attr(AttrRequestedTransport, []byte{17, 0, 0, 0}).Attr(AttrData, []byte("x")).Bytes()
	if _, ok := ParseSend(unknown); ok {
		t.Error("a Send with an attribute that has no meaning there is taken")
	}
	empty := Begin(nil, SendIndication, make([]byte, 12)).Attr(AttrXORPeerAddress, nil).Attr(AttrData, []byte("x")).Bytes()
	if _, ok := ParseSend(empty); ok {
		t.Error("a Send with an empty XOR-PEER-ADDRESS is taken")
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(Begin(nil, AllocateRequest, make([]byte, 12)).String(AttrUsername, "u").Integrity([]byte("k")).Fingerprint().Bytes())
	f.Add(Begin(nil, SendIndication, make([]byte, 12)).XORAddr(AttrXORPeerAddress, netip.MustParseAddrPort("192.0.2.7:1")).
		Attr(AttrData, []byte("abc")).Bytes())
	f.Add(Begin(nil, AllocateRequest, make([]byte, 12)).Attr(AttrUserhash, make([]byte, 32)).Attr(AttrPasswordAlgorithms, make([]byte, 8)).
		Attr(AttrPasswordAlgorithm, make([]byte, 4)).Integrity([]byte("k")).IntegritySHA256([]byte("k")).Fingerprint().Bytes())
	f.Add(Begin(nil, AllocateRequest, make([]byte, 12)).Attr(AttrMessageIntegritySHA256, make([]byte, 15)).Attr(AttrRealm, nil).
		Integrity([]byte("k")).Bytes())
	f.Add([]byte{0, 1, 0xff, 0xec, 0x21, 0x12, 0xa4, 0x42})
	f.Add(Begin(nil, DataIndication, make([]byte, 12)).ICMP(ICMP{Type: 3, Code: 4, MTU: 1400}).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			if n, err := FrameSize(b); err == nil && (n < 4 || n > MaxFrame) {
				t.Errorf("FrameSize = %d", n)
			}
		}
		if s, ok := ParseSend(b); ok && (!s.Peer.IsValid() || len(s.Data) > len(b)) {
			t.Errorf("ParseSend = %v, %d bytes", s.Peer, len(s.Data))
		}
		if _, data, ok := ParseChannelData(b); ok && len(data) > len(b)-4 {
			t.Error("ChannelData beyond its datagram")
		}
		var m Message
		if m.Parse(b) != nil {
			return
		}
		m.CheckFingerprint()
		m.CheckIntegrity([]byte("k"))
		if value, ok := m.IntegritySHA256(); m.CheckIntegritySHA256([]byte("k")) && (!ok || len(value) != 32) {
			t.Errorf("an integrity of %d bytes is right", len(value))
		}
		m.CutAtSHA256()
		m.Each(func(at uint16, v []byte) bool {
			if at == AttrXORPeerAddress {
				_, _ = XORAddr(v, m.TransactionID())
			}
			if e, ok := ParseICMP(v); ok {
				again, _ := ParseICMP(Begin(nil, DataIndication, make([]byte, 12)).ICMP(e).Bytes()[HeaderSize+4:])
				if again != e {
					t.Errorf("%+v reads as %+v when it is written", e, again)
				}
			}
			return true
		})
	})
}

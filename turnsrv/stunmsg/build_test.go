package stunmsg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// Whatever is put into a Builder, it yields a message that reads as what was put in, or none and the reason.
func TestBuilderMakesNoWrongMessage(t *testing.T) {
	sizes := []int{0, 1, 2, 3, 4, 100, 65490, 65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513,
		65514, 65515, 65516, 65517, 65531, 65532, 65535, 65536, 65540, 131072, 200_000}
	buf := make([]byte, 0, 64)
	for _, n := range sizes {
		value := make([]byte, n)
		for name, c := range map[string]struct {
			w    *Builder
			size int
		}{
			"Attr":   {Begin(buf, BindingRequest, make([]byte, 12)).Attr(AttrData, value), 20 + 4 + padded(n)},
			"String": {Begin(buf, BindingRequest, make([]byte, 12)).String(AttrData, string(value)), 20 + 4 + padded(n)},
			"Integrity": {
				Begin(buf, BindingRequest, make([]byte, 12)).Attr(AttrData, value).Integrity([]byte("k")).Fingerprint(),
				20 + 4 + padded(n) + 24 + 8,
			},
			"Address": {
				Begin(buf, BindingRequest, make([]byte, 12)).Attr(AttrData, value).XORAddr(AttrXORPeerAddress, netip.MustParseAddrPort("[::1]:9")),
				20 + 4 + padded(n) + 24,
			},
		} {
			b := c.w.Bytes()
			if fits := c.size <= MaxFrame; (b != nil) != fits || errors.Is(c.w.Err(), ErrTooLarge) == fits {
				t.Errorf("%s with %d bytes: a message of %d bytes, %v", name, n, len(b), c.w.Err())
			}
			if b == nil {
				continue
			}
			var m Message
			v, ok := []byte(nil), false
			if err := m.Parse(b); err == nil {
				v, ok = m.Get(AttrData)
			}
			if !ok || len(v) != n || len(b) != c.size || int(binary.BigEndian.Uint16(b[2:])) != c.size-20 {
				t.Errorf("%s with %d bytes reads as one with %d", name, n, len(v))
			}
		}
	}
	for name, w := range map[string]*Builder{
		"no address":          Begin(nil, BindingRequest, make([]byte, 12)).XORAddr(AttrXORPeerAddress, netip.AddrPort{}),
		"a code of no answer": Begin(nil, BindingRequest, make([]byte, 12)).ErrorCode(70_000),
	} {
		if w.Bytes() != nil || w.Err() == nil {
			t.Errorf("%s: a message", name)
		}
	}
}

// Data indications and ChannelData have lengths that say what follows, or are not begun.
func TestDataHeadersFit(t *testing.T) {
	var txid [12]byte
	peers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:1"), netip.MustParseAddrPort("[2001:db8::7]:1")}
	check := func(n int) {
		for i, p := range peers {
			b, ok := AppendDataHeader(nil, p, n, &txid)
			size := 20 + 4 + 8 + 12*i + 4 + padded(n)
			if ok != (size <= MaxFrame) || !ok && b != nil {
				t.Fatalf("%d bytes from %s: %v", n, p, ok)
			}
			if !ok {
				continue
			}
			var m Message
			err := m.Parse(append(b, make([]byte, padded(n))...))
			if v, _ := m.Get(AttrData); err != nil || len(v) != n {
				t.Fatalf("%d bytes from %s read as %d: %v", n, p, len(v), err)
			}
		}
		var head [ChannelHeader]byte
		ok := PutChannelHeader(&head, MinChannel, n)
		if ok != (4+padded(n) <= MaxFrame) || ok && int(binary.BigEndian.Uint16(head[2:])) != n {
			t.Fatalf("ChannelData with %d bytes: %v, %x", n, ok, head)
		}
	}
	for n := range 70_000 {
		if n < 20 || n > 65_400 || rand.IntN(200) == 0 {
			check(n)
		}
	}
	for _, n := range []int{1 << 17, 1<<17 + 4, 1 << 20} {
		check(n)
	}
	if PutChannelHeader(new([ChannelHeader]byte), MinChannel-1, 0) || PutChannelHeader(new([ChannelHeader]byte), MaxChannel+1, 0) {
		t.Error("a number that is no channel's is taken")
	}
}

// ICMP is on the wire as 16 bits of zeros, 8 of type, 8 of code, and 32 of MTU.
func TestICMPWireFormat(t *testing.T) {
	for _, c := range []struct {
		e    ICMP
		wire []byte
	}{
		{ICMP{Type: 3, Code: 3}, []byte{0, 0, 3, 3, 0, 0, 0, 0}},
		{ICMP{Type: 3, Code: 4, MTU: 1400}, []byte{0, 0, 3, 4, 0, 0, 5, 0x78}},
		{ICMP{Type: 11, Code: 255}, []byte{0, 0, 11, 255, 0, 0, 0, 0}},
		{ICMP{Type: 127, Code: 255, MTU: 1<<32 - 1}, []byte{0, 0, 127, 255, 255, 255, 255, 255}},
	} {
		var m Message
		err := m.Parse(Begin(nil, DataIndication, make([]byte, 12)).ICMP(c.e).Bytes())
		v, ok := m.Get(AttrICMP)
		if err != nil || !ok || !bytes.Equal(v, c.wire) {
			t.Errorf("%+v is %x, %v", c.e, v, err)
		}
		if e, ok := ParseICMP(c.wire); !ok || e != c.e {
			t.Errorf("%x reads as %+v, %v", c.wire, e, ok)
		}
		reserved := append([]byte{255, 255}, c.wire[2:]...) // "MUST be ignored when received"
		if e, ok := ParseICMP(reserved); !ok || e != c.e {
			t.Errorf("%x reads as %+v, %v", reserved, e, ok)
		}
		for n := range c.wire {
			if _, ok := ParseICMP(c.wire[:n]); ok {
				t.Errorf("%x is taken", c.wire[:n])
			}
		}
	}
	if e, ok := ParseICMP(make([]byte, 9)); ok {
		t.Errorf("9 bytes read as %+v", e)
	}
}

func FuzzBuilder(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint32(65_500), uint16(300))
	f.Add([]byte{}, uint32(70_000), uint16(0))
	f.Fuzz(func(t *testing.T, a []byte, n uint32, code uint16) {
		value := make([]byte, n%140_000)
		w := Begin(nil, BindingRequest, make([]byte, 12)).Attr(AttrUsername, a).ErrorCode(int(code)).Attr(AttrNonce, value).
			Integrity([]byte("k")).Fingerprint()
		b := w.Bytes()
		if (b == nil) != (w.Err() != nil) {
			t.Fatal("neither a message nor a reason, or both")
		}
		var m Message
		if b == nil {
			return
		}
		if err := m.Parse(b); err != nil || !m.CheckFingerprint() || !m.CheckIntegrity([]byte("k")) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		u, _ := m.Get(AttrUsername)
		v, _ := m.Get(AttrNonce)
		if string(u) != string(a) || len(v) != len(value) {
			t.Fatalf("%d and %d bytes read as %d and %d", len(a), len(value), len(u), len(v))
		}
	})
}

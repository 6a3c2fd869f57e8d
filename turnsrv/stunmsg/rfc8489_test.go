package stunmsg

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// The request of RFC 8489, Appendix B.1, as published: its length says 20 bytes more than there are, and the HMAC is of that.
const vectorUserhash = `0001009c 2112a442 78ad3433c6ad72c029da412e
		001e0020 4a3cf38fef6992bda952c6780417da0f 24819415569e60b205c46e41407f1704
		00150029 6f624d61744a6f7332414141 43662f2f3439396b 3935346436 4f4c33346f4c394653547679363473 41000000
		0014000b 6578616d706c652e6f7267 00
		001c0020 e4686c8f0edeb59013e07090010a93ef ccbccc544c0a45d9f830aa6d6f735a01`

func TestRFC8489Vector(t *testing.T) {
	raw := unhex(t, vectorUserhash)
	key := sha256.Sum256([]byte("\u30de\u30c8\u30ea\u30c3\u30af\u30b9:example.org:TheMatrIX"))
	var m Message
	if m.Parse(raw) == nil {
		t.Fatal("a message that is shorter than it says is taken")
	}
	signed, value := raw[:len(raw)-integrity256], raw[len(raw)-sha256.Size:]
	if got := macOf(nil, sha256.New, key[:], signed, integrity256+20); !bytes.Equal(got, value) {
		t.Errorf("HMAC %x, published %x", got, value)
	}
	// The same with its right length, and the HMAC that OpenSSL gives.
	raw[3] = byte(len(raw) - HeaderSize)
	copy(value, unhex(t, "234112fbd4e27f983eb4032836f998216f5b23f8d927753fbc4f882bfbdf0dec"))
	if err := m.Parse(raw); err != nil {
		t.Fatal(err)
	}
	m.CutAtSHA256()
	if !m.CheckIntegritySHA256(key[:]) || m.CheckIntegritySHA256([]byte("wrong")) || m.CheckIntegrity(key[:]) || m.HasIntegrity() {
		t.Error("MESSAGE-INTEGRITY-SHA256 is not told apart")
	}
	hash, _ := m.Get(AttrUserhash)
	if nonce, _ := m.Get(AttrNonce); string(nonce) != "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA" {
		t.Errorf("NONCE %q", nonce)
	}
	if sum := sha256.Sum256([]byte("\u30de\u30c8\u30ea\u30c3\u30af\u30b9:example.org")); !bytes.Equal(hash, sum[:]) {
		t.Errorf("USERHASH %x", hash)
	}
	nonce, _ := m.Get(AttrNonce)
	built := Begin(nil, BindingRequest, m.TransactionID()).Attr(AttrUserhash, hash).Attr(AttrNonce, nonce).
		String(AttrRealm, "example.org").IntegritySHA256(key[:]).Bytes()
	if !bytes.Equal(built, raw) {
		t.Errorf("built  %x\nvector %x", built, raw)
	}
}

func TestBothIntegrities(t *testing.T) {
	old, key := md5.Sum([]byte("k")), sha256.Sum256([]byte("k"))
	raw := Begin(nil, AllocateRequest, make([]byte, 12)).String(AttrUsername, "u").Integrity(old[:]).IntegritySHA256(key[:]).
		Fingerprint().Bytes()
	var m Message
	if err := m.Parse(raw); err != nil {
		t.Fatal(err)
	}
	for range 2 { // before CutAtSHA256 and after
		if !m.CheckIntegrity(old[:]) || !m.CheckIntegritySHA256(key[:]) || !m.CheckFingerprint() {
			t.Error("not accepted")
		}
		if m.CheckIntegrity(key[:]) || m.CheckIntegritySHA256(old[:]) {
			t.Error("accepted with the other's key")
		}
		if _, ok := m.Get(AttrMessageIntegritySHA256); ok {
			t.Error("what is behind MESSAGE-INTEGRITY counts as an attribute")
		}
		m.CutAtSHA256()
	}
}

// Whichever integrity comes first, no attribute counts that the other does not cover.
func TestAttributesBehindIntegritySHA256AreIgnored(t *testing.T) {
	key := []byte("k")
	begin := func() *Builder { return Begin(nil, AllocateRequest, make([]byte, 12)).String(AttrUsername, "u") }
	for name, w := range map[string]*Builder{
		"alone":           begin().IntegritySHA256(key).String(AttrRealm, "late"),
		"before the end":  begin().IntegritySHA256(key).String(AttrRealm, "late").Fingerprint(),
		"behind both":     begin().Integrity(key).IntegritySHA256(key).String(AttrRealm, "late"),
		"between":         begin().Integrity(key).String(AttrRealm, "late").IntegritySHA256(key),
		"between, turned": begin().IntegritySHA256(key).String(AttrRealm, "late").Integrity(key),
		"twice":           begin().IntegritySHA256(key).String(AttrRealm, "late").IntegritySHA256(key),
	} {
		var m Message
		if err := m.Parse(w.Bytes()); err != nil {
			t.Fatal(err)
		}
		m.CutAtSHA256()
		if _, ok := m.Get(AttrRealm); ok {
			t.Errorf("%s: it counts", name)
		}
		if u, _ := m.Get(AttrUsername); string(u) != "u" || !m.CheckIntegritySHA256(key) || !m.CheckFingerprint() {
			t.Errorf("%s: refused because of what follows", name)
		}
	}
}

func TestIntegritySHA256HasItsLength(t *testing.T) {
	whole := Begin(nil, AllocateRequest, make([]byte, 12)).String(AttrUsername, "u").IntegritySHA256([]byte("k")).Bytes()
	value := whole[len(whole)-sha256.Size:]
	for n := range 41 {
		b := Begin(nil, AllocateRequest, make([]byte, 12)).String(AttrUsername, "u").
			Attr(AttrMessageIntegritySHA256, append(bytes.Clone(value), make([]byte, 9)...)[:n]).Bytes()
		var m Message
		if err := m.Parse(b); err != nil {
			t.Fatal(err)
		}
		if got, ok := m.IntegritySHA256(); !ok || len(got) != n {
			t.Errorf("%d bytes: %s", n, hex.EncodeToString(got))
		}
		if m.CheckIntegritySHA256([]byte("k")) != (n == sha256.Size) {
			t.Errorf("%d bytes: %v", n, n != sha256.Size)
		}
	}
	var m Message
	if err := m.Parse(Begin(nil, AllocateRequest, make([]byte, 12)).Bytes()); err != nil || m.CheckIntegritySHA256([]byte("k")) {
		t.Error("none at all is right")
	}
}

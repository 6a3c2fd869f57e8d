package stunmsg

import (
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

// What we build, pion/stun reads, and the other way round: two codecs that share no code.
func TestAgreesWithPionSTUN(t *testing.T) {
	id := stun.NewTransactionID()
	addr := netip.MustParseAddrPort("192.0.2.7:4242")
	key := []byte("a key")
	ours := Begin(nil, BindingRequest.Success(), id[:]).XORAddr(AttrXORMappedAddress, addr).
		String(AttrSoftware, "abc").Integrity(key).Fingerprint().Bytes()
	m := &stun.Message{Raw: ours}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	var mapped stun.XORMappedAddress
	if err := mapped.GetFrom(m); err != nil || mapped.String() != addr.String() {
		t.Errorf("pion reads %v, %v", mapped, err)
	}
	if err := stun.MessageIntegrity(key).Check(m); err != nil {
		t.Error(err)
	}
	if err := stun.Fingerprint.Check(m); err != nil {
		t.Error(err)
	}

	theirs, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername("u"), stun.NewRealm("r"),
		stun.MessageIntegrity(key), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	var own Message
	if err := own.Parse(theirs.Raw); err != nil {
		t.Fatal(err)
	}
	if v, _ := own.Get(AttrUsername); own.Type != BindingRequest || string(v) != "u" {
		t.Errorf("we read %v %q", own.Type, v)
	}
	if !own.CheckIntegrity(key) || !own.CheckFingerprint() {
		t.Error("pion's integrity or fingerprint is not accepted")
	}
}

package credential

import (
	"fmt"
	"testing"
	"time"
)

// Computed with OpenSSL: printf %s 1700000000:Alice:crolang | openssl dgst -sha256, and the same with :PASSWORD behind.
func TestKnownHashes(t *testing.T) {
	if h := Userhash("1700000000:Alice", "crolang"); hex(h[:]) != "7970c4ef3d163251080bccb8b9faf6fa347d0ce0362dcf05f2c7e8ab23b17917" {
		t.Errorf("USERHASH %s", hex(h[:]))
	}
	if key := SHA256.Key("1700000000:Alice", "crolang", "XF6Q/wcHjIxaY9jWsJkXAvZBbT8="); hex(key) != "34453b237dc6625dbdbb01bdf6ce175694724bc64154698e6e9d8319b8f5d6a4" {
		t.Errorf("key %s", hex(key))
	}
	if key := MD5.Key("1700000000:Alice", "crolang", "XF6Q/wcHjIxaY9jWsJkXAvZBbT8="); hex(key) != "3df8461b2cc22fb6b777d351a8059f69" {
		t.Errorf("key with MD5 %s", hex(key))
	}
}

func TestNamesAreKnownByTheirHash(t *testing.T) {
	k, _ := NewKeyring("s", nil)
	issue := func(node string, ttl time.Duration, now int64) []byte {
		t.Helper()
		c, err := k.Issue(node, ttl, time.Unix(now, 0))
		if err != nil {
			t.Fatal(err)
		}
		h := Userhash(c.Username, "r")
		return h[:]
	}
	known := func(what string, hash []byte, want string) {
		t.Helper()
		if got, ok := k.Named(hash); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", what, got, ok)
		}
	}
	known("before", issue("early", time.Hour, 0), "")
	k.Remember("r")
	a := issue("a", 100*time.Second, 0)
	issue("a", 100*time.Second, 0)
	b := issue("b", 300*time.Second, 0)
	known("a", a, "100:a")
	known("b", b, "300:b")
	known("nobody", make([]byte, 32), "")
	known("cut", a[:31], "")
	known("none", nil, "")
	k.Remember("r")
	known("asked again", a, "100:a")
	issue("c", time.Hour, 101)
	known("a, expired", a, "")
	known("b", b, "300:b")
	if k.Kept() != 2 {
		t.Errorf("%d are kept", k.Kept())
	}
	k.Remember("other")
	known("another realm", b, "")
	k.Remember("")
	if issue("d", time.Hour, 0); k.Kept() != 0 {
		t.Errorf("%d are kept", k.Kept())
	}
}

func TestNamesAreBounded(t *testing.T) {
	n := newNames("r", 10)
	for i := range 1000 {
		n.add(fmt.Sprintf("1000:%d", i), time.Unix(0, 0))
		if len(n.byHash) != min(i+1, 10) || len(n.order) != len(n.byHash) || cap(n.order) > 64 {
			t.Fatalf("after %d: %d, %d of %d", i+1, len(n.byHash), len(n.order), cap(n.order))
		}
	}
	for i := range 1000 {
		if _, ok := n.byHash[Userhash(fmt.Sprintf("1000:%d", i), "r")]; ok != (i >= 990) {
			t.Errorf("%d is kept: %v", i, ok)
		}
	}
}

package control

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const (
	// nonceLife is how long a nonce is good for: RFC 8656 §5 recommends at least an hour between changes.
	nonceLife = time.Hour
	// nonceLen is short on purpose. With a realm of seven letters and a FINGERPRINT a 401 has 68 bytes, so that
	// a spoofed request is no use for amplification.
	nonceLen = 16
	// nonceMark begins a nonce of RFC 8489; the features follow in base64, 24 bits of which two have a meaning (§9.2).
	nonceMark   = "obMatJos2"
	cookieLen   = len(nonceMark) + 4
	maxNonceLen = cookieLen + nonceLen
)

// features are the security features that a nonce promises (RFC 8489 §18.1), the first 8 of 24 bits. A nonce without any is
// one of RFC 5389.
type features uint8

const (
	passwordAlgorithms features = 1 << 7 // bit 0: an algorithm is to be chosen of PASSWORD-ALGORITHMS
	usernameAnonymity  features = 1 << 6 // bit 1: the name is to be sent as USERHASH
)

// cookie is what a nonce with the features begins with.
func (f features) cookie() string {
	switch f {
	case 0:
		return ""
	case passwordAlgorithms:
		return nonceMark + "gAAA"
	}
	return nonceMark + "wAAA"
}

// featuresOf returns the features that a nonce of this server promises, and what follows the cookie.
func featuresOf(nonce []byte) (features, []byte) {
	if len(nonce) == maxNonceLen && string(nonce[:len(nonceMark)]) == nonceMark {
		for _, f := range [...]features{passwordAlgorithms, passwordAlgorithms | usernameAnonymity} {
			if string(nonce[:cookieLen]) == f.cookie() {
				return f, nonce[cookieLen:]
			}
		}
	}
	return 0, nonce
}

// nonces makes and checks nonces that hold for one 5-tuple and this process only, so that a request captured on one
// path is of no use on another (RFC 8489 §9.2 leaves the contents to the server). It keeps no state per client.
type nonces struct {
	key   [32]byte
	start time.Time
	now   func() time.Time
}

func newNonces(now func() time.Time) *nonces {
	n := &nonces{start: now(), now: now}
	_, _ = rand.Read(n.key[:]) // never fails: crypto/rand ends the process rather than return an error
	return n
}

// make returns a nonce for t: the cookie of the features, 4 bytes of time, 8 bytes of MAC, base64url.
func (n *nonces) make(t relay.Tuple, f features) string {
	return n.at(t, f, uint32(n.now().Sub(n.start)/time.Second))
}

// valid reports whether nonce was made for t, by this process, within nonceLife, with the features that it has. The
// comparison is in constant time.
func (n *nonces) valid(t relay.Tuple, nonce []byte) bool {
	f, rest := featuresOf(nonce)
	made, ok := n.age(rest)
	return ok && hmac.Equal([]byte(n.at(t, f, made)), nonce)
}

// fresh reports whether a nonce that was valid once is still within nonceLife. It computes no MAC.
func (n *nonces) fresh(nonce []byte) bool {
	_, rest := featuresOf(nonce)
	_, ok := n.age(rest)
	return ok
}

// age reads when the part of a nonce behind the cookie claims to have been made, and reports whether that is within
// nonceLife.
func (n *nonces) age(rest []byte) (made uint32, ok bool) {
	var raw [12]byte
	if len(rest) != nonceLen {
		return 0, false
	}
	if _, err := base64.RawURLEncoding.Decode(raw[:], rest); err != nil {
		return 0, false
	}
	made = binary.BigEndian.Uint32(raw[:])
	age := n.now().Sub(n.start) - time.Duration(made)*time.Second
	return made, age >= -time.Second && age <= nonceLife
}

func (n *nonces) at(t relay.Tuple, f features, seconds uint32) string {
	var msg [4 + 1 + 16 + 2 + 1]byte
	binary.BigEndian.PutUint32(msg[:], seconds)
	msg[4] = byte(t.Transport)
	ip := t.Client.Addr().As16()
	copy(msg[5:], ip[:])
	binary.BigEndian.PutUint16(msg[21:], t.Client.Port())
	msg[23] = byte(f)
	mac := hmac.New(sha256.New, n.key[:])
	mac.Write(msg[:])
	var sum [sha256.Size]byte
	var raw [12]byte
	copy(raw[:4], msg[:4])
	copy(raw[4:], mac.Sum(sum[:0]))
	var nonce [maxNonceLen]byte
	return string(base64.RawURLEncoding.AppendEncode(append(nonce[:0], f.cookie()...), raw[:]))
}

package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// algorithms is the value of PASSWORD-ALGORITHMS (RFC 8489 §14.11) in every answer that has one, what is preferred first.
var algorithms = []byte{0, byte(credential.SHA256), 0, 0, 0, byte(credential.MD5), 0, 0}

// claim is what a request says about who has sent it. Without Settings.SHA256 that is what RFC 5389 has: a username, and
// MESSAGE-INTEGRITY with a key of MD5. Its slices point into the request.
type claim struct {
	username, realm, nonce []byte
	// hash is USERHASH, 32 bytes, in place of a username; nil: there is a username.
	hash      []byte
	algorithm credential.Algorithm
	// chosen says that the client has chosen the algorithm: it is a client of RFC 8489, and is answered with
	// MESSAGE-INTEGRITY-SHA256.
	chosen bool
	// unlisted says that it did not repeat what it has chosen from, PASSWORD-ALGORITHMS.
	unlisted bool
	sha256   bool // the integrity to check is MESSAGE-INTEGRITY-SHA256
}

// claims reads the claim of a request, as far as RFC 8489 §9.2.4 asks no more than what is there. It reports false if the
// request has been answered, or dropped.
func (r *request) claims() bool {
	q := &r.claim
	q.algorithm = credential.MD5
	var hasUser, hasRealm, hasNonce, hasHash, hasSHA256 bool
	if r.modern {
		q.hash, hasHash = r.msg.Get(stunmsg.AttrUserhash)
		_, hasSHA256 = r.msg.IntegritySHA256()
	}
	q.username, hasUser = r.msg.Get(stunmsg.AttrUsername)
	q.realm, hasRealm = r.msg.Get(stunmsg.AttrRealm)
	q.nonce, hasNonce = r.msg.Get(stunmsg.AttrNonce)
	switch {
	case !r.msg.HasIntegrity() && !hasSHA256:
		*q = claim{} // nobody has claimed anything
		return r.challenge(401, "no_credential")
	case hasUser == hasHash || !hasRealm || !hasNonce:
		return r.bad("incomplete_credential")
	}
	if len(q.username) > maxUsername {
		q.username = q.username[:maxUsername+1] // no valid name is as long, so that it fails below
	}
	return !r.modern || r.claimsOfRFC8489()
}

// claimsOfRFC8489 is the rest of claims for what RFC 5389 has not.
func (r *request) claimsOfRFC8489() bool {
	q := &r.claim
	integrity, sum := r.msg.IntegritySHA256()
	if sum && len(integrity) != sha256.Size || q.hash != nil && len(q.hash) != sha256.Size {
		return r.bad("malformed")
	}
	q.sha256 = sum
	if f, _ := featuresOf(q.nonce); f&passwordAlgorithms == 0 {
		return true // it is not a nonce of ours
	}
	all, listed := r.msg.Get(stunmsg.AttrPasswordAlgorithms)
	one, chosen := r.msg.Get(stunmsg.AttrPasswordAlgorithm)
	switch {
	case !listed && !chosen:
		return true
	case !chosen || len(one) != 4 || listed && !bytes.Equal(all, algorithms):
		return r.bad("password_algorithms")
	}
	switch a := credential.Algorithm(binary.BigEndian.Uint16(one)); {
	case one[2] != 0 || one[3] != 0 || a != credential.MD5 && a != credential.SHA256:
		return r.bad("password_algorithms")
	default:
		q.algorithm, q.chosen, q.unlisted = a, true, !listed
	}
	return true
}

// user is the name that the claim is about. A USERHASH that this process does not know is a name that nobody has, so that
// its request costs what any other does.
func (r *request) user() string {
	if r.claim.hash == nil {
		return string(r.claim.username)
	}
	if s := r.about(); s != nil && s.proof.Load().hasHash(r.claim.hash) {
		return s.username
	}
	if name, ok := r.c.cfg.Keys.Named(r.claim.hash); ok {
		return name
	}
	return nobody
}

// nobody is no valid name: it has no Node.
const nobody = "1000000000:"

// verify reports whether the message has the integrity that key gives.
func (r *request) verify(key []byte) bool {
	if r.claim.sha256 {
		return r.msg.CheckIntegritySHA256(key)
	}
	return r.msg.CheckIntegrity(key)
}

// promise is what the nonce of a challenge promises. A client that a name was refused to is asked for the name itself: what a
// hash stands for is known only for the names that this process has issued, and the client is not to lose a call by that.
// What the answer was about, it does not show.
func (r *request) promise(code int) features {
	switch {
	case !r.modern:
		return 0
	case !r.c.resolves() || r.claim.nonce != nil && (code != 438 || r.claim.hash == nil):
		return passwordAlgorithms
	}
	return passwordAlgorithms | usernameAnonymity
}

// resolves reports whether names are asked for as hashes. Of several machines none knows what the others have issued.
func (c *Control) resolves() bool { return c.cfg.Elsewhere == nil }

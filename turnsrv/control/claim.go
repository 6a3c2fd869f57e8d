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
// MESSAGE-INTEGRITY with a key of MD5. Its slices point into the request; an attribute that is not there is nil.
type claim struct {
	name, realm, nonce []byte
	promised           features // by the nonce, if it is ours
	hashed             bool     // name is USERHASH, 32 bytes
	sha256             bool     // the integrity to check is MESSAGE-INTEGRITY-SHA256
	// chosen says that the client has chosen the algorithm: it is a client of RFC 8489, and is answered with
	// MESSAGE-INTEGRITY-SHA256.
	chosen bool
	// unlisted says that it did not repeat what it has chosen from, PASSWORD-ALGORITHMS.
	unlisted  bool
	algorithm credential.Algorithm
}

// claims reads the claim of a request, as far as RFC 8489 §9.2.4 asks no more than what is there. It reports false if the
// request has been answered, or dropped.
func (r *request) claims() bool {
	var q claim
	var hash, all, one []byte
	r.msg.Each(func(t uint16, v []byte) bool {
		to := &q.name
		switch t {
		case stunmsg.AttrUsername:
		case stunmsg.AttrRealm:
			to = &q.realm
		case stunmsg.AttrNonce:
			to = &q.nonce
		case stunmsg.AttrUserhash:
			to = &hash
		case stunmsg.AttrPasswordAlgorithms:
			to = &all
		case stunmsg.AttrPasswordAlgorithm:
			to = &one
		default:
			return true
		}
		if *to == nil { // a repeated attribute counts once
			*to = v
		}
		return true
	})
	var integrity []byte
	if r.modern {
		integrity, q.sha256 = r.msg.IntegritySHA256()
	} else {
		hash = nil
	}
	switch {
	case !r.msg.HasIntegrity() && !q.sha256:
		return r.challenge(401, "no_credential")
	case (q.name == nil) == (hash == nil) || q.realm == nil || q.nonce == nil:
		return r.bad("incomplete_credential")
	}
	if len(q.name) > maxUsername {
		q.name = q.name[:maxUsername+1] // no valid name is as long, so that it fails below
	}
	q.promised, _ = featuresOf(q.nonce)
	q.algorithm = credential.MD5
	if hash != nil {
		q.name, q.hashed = hash, true
	}
	r.claim = q
	if !r.modern {
		return true
	}
	if q.sha256 && len(integrity) != sha256.Size || q.hashed && len(hash) != sha256.Size {
		return r.bad("malformed")
	}
	if q.promised == 0 || all == nil && one == nil {
		return true // a nonce that is not of now, or a client of RFC 5389
	}
	return r.chooses(all, one)
}

// chooses reads PASSWORD-ALGORITHMS and PASSWORD-ALGORITHM, of which one is there at least.
func (r *request) chooses(all, one []byte) bool {
	if len(one) != 4 || all != nil && !bytes.Equal(all, algorithms) {
		return r.bad("password_algorithms")
	}
	a := credential.Algorithm(binary.BigEndian.Uint16(one))
	if one[2] != 0 || one[3] != 0 || a != credential.MD5 && a != credential.SHA256 {
		return r.bad("password_algorithms")
	}
	r.claim.algorithm, r.claim.chosen, r.claim.unlisted = a, true, all == nil
	return true
}

// user is the name that the claim is about. A USERHASH that this process does not know is a name that nobody has, so that
// its request costs what any other does.
func (r *request) user() string {
	if !r.claim.hashed {
		return string(r.claim.name)
	}
	if s := r.session; s != nil && s.proof.hasHash(r.claim.name) {
		return s.username
	}
	if name, ok := r.c.cfg.Keys.Named(r.claim.name); ok {
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
	case !r.c.resolves() || r.claim.nonce != nil && (code != 438 || !r.claim.hashed):
		return passwordAlgorithms
	}
	return passwordAlgorithms | usernameAnonymity
}

// resolves reports whether names are asked for as hashes. Of several machines none knows what the others have issued.
func (c *Control) resolves() bool { return c.cfg.Elsewhere == nil }

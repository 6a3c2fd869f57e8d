package control

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// maxUsername is the longest username that RFC 8489 §14.3 allows, in bytes. Refusing a longer one takes as much work.
const maxUsername = 508

// authenticate is RFC 8489 §9.2.4. It reports false if the request has been answered, or dropped.
//
// It consults a limit before it computes anything. A request that has the nonce with which the user of its 5-tuple's
// allocation last authenticated is checked against that allocation's key only, within the allocation's rate; nobody
// else knows that nonce, so strangers cannot use the rate up. Any other request is checked against every secret, within
// what its source may cost: see [sources.try].
func (r *request) authenticate() bool {
	if !r.claims() {
		return false
	}
	if rel := r.src.Relay(); rel != nil {
		r.session, _ = rel.Tag().(*session)
	}
	if s := r.session; s != nil && s.proven(&r.claim) {
		return r.authenticateSession()
	}
	if r.claim.unlisted {
		// Only what has been chosen once from the whole list may be said without it, see proven.
		return r.bad("password_algorithms")
	}
	return r.authenticateStranger()
}

// authenticateSession is for a request that almost certainly comes from the allocation's own client.
func (r *request) authenticateSession() bool {
	s := r.session
	if !r.withinRate(s, s.node, units(len(r.msg.Raw))) {
		return false
	}
	r.c.stats.checks.Add(1)
	if !r.verify(s.key) {
		return r.challenge(401, "wrong_credential")
	}
	if r.c.cfg.Nodes.Banned(s.node) {
		return r.challenge(401, "banned")
	}
	r.username, r.node, r.key = s.username, s.node, s.key
	return true
}

// authenticateStranger is for every other request. An unknown user, a wrong password, a malformed name, a banned Node
// and an expired name, unless it has a live allocation here, all get the same 401 after the same number of HMACs.
func (r *request) authenticateStranger() bool {
	q := &r.claim
	ip := r.src.Client.Addr()
	cost := 1 + r.c.cfg.Keys.Len()
	if !r.c.sources.try(ip, cost) {
		r.c.stats.limited.Add(1)
		return false
	}
	if (q.promised != 0) != r.modern || !r.c.nonces.valid(r.src.Tuple, q.nonce) {
		r.c.sources.spare(ip, cost-1)
		return r.challenge(438, "stale_nonce")
	}
	username := r.user()
	r.username = username
	name, badName := credential.Parse(username)
	generation := r.c.cfg.Keys.Generation()
	key, ok := r.c.match(username, q.algorithm, r.verify)
	if !ok || badName != nil || string(q.realm) != r.c.cfg.Realm {
		return r.challenge(401, "wrong_credential")
	}
	if r.c.cfg.Nodes.Banned(name.Node) {
		return r.challenge(401, "banned")
	}
	r.node = name.Node
	// A live allocation outlasts its credential: a call must not end because a password did.
	mine := r.session != nil && r.session.username == username
	if !mine && !r.mayBegin(name) {
		return r.challenge(401, "expired")
	}
	n := units(len(r.msg.Raw))
	if r.msg.Type == stunmsg.AllocateRequest {
		n += allocateUnits - 1
	}
	var s *session
	if mine {
		s = r.session
	}
	if !r.withinRate(s, name.Node, n) {
		return false
	}
	r.c.sources.spare(ip, cost)
	r.key, r.proof = key, newProof(q, generation)
	if mine {
		s.key, s.proof = key, r.proof
	}
	r.src.MarkAuthenticated()
	return true
}

// proof is what a session's client last authenticated with.
type proof struct {
	nonce      [maxNonceLen]byte // valid for the 5-tuple
	length     int               // of nonce
	generation uint64            // of the secrets that were tried
	algorithm  credential.Algorithm
	chosen     bool
	hash       *[sha256.Size]byte // USERHASH, nil for a client that says its name
}

func newProof(q *claim, generation uint64) *proof {
	p := &proof{generation: generation, algorithm: q.algorithm, chosen: q.chosen}
	p.length = copy(p.nonce[:], q.nonce)
	if q.hashed {
		p.hash = (*[sha256.Size]byte)(bytes.Clone(q.name))
	}
	return p
}

func (p *proof) hasHash(hash []byte) bool { return p.hash != nil && bytes.Equal(p.hash[:], hash) }

// proven reports whether a request names the session's user and has the nonce of its last proof, and that still holds.
// A client of RFC 8489 has then said what it was given to choose from (§9.2.3.2 does not ask for that again).
func (s *session) proven(q *claim) bool {
	p := s.proof
	return subtle.ConstantTimeCompare(p.nonce[:p.length], q.nonce) == 1 &&
		(!q.hashed && string(q.name) == s.username || q.hashed && p.hasHash(q.name)) &&
		string(q.realm) == s.c.cfg.Realm && q.algorithm == p.algorithm && q.chosen == p.chosen &&
		p.generation == s.c.cfg.Keys.Generation() && s.c.nonces.fresh(q.nonce)
}

// mayBegin reports whether the credential is good for a new allocation: unexpired, or of a Node that is connected.
func (r *request) mayBegin(name credential.Name) bool {
	late := r.c.now().Sub(name.Expires)
	set := r.c.set.Load()
	if late < 0 || !set.StrictExpiry && !set.TTLOnly && r.c.cfg.Nodes.Connected(name.Node) {
		return true
	}
	r.c.cfg.Nodes.Refused(name.Node, "allocation refused: credential expired "+late.Round(time.Second).String()+" ago")
	return false
}

// match tries every secret, whatever the outcome, so that neither time nor work shows which one fits or whether the
// user exists. It counts them, so that tests can compare what refusals cost.
func (c *Control) match(username string, a credential.Algorithm, check func([]byte) bool) ([]byte, bool) {
	return c.cfg.Keys.Match(username, c.cfg.Realm, a, func(key []byte) bool {
		c.stats.checks.Add(1)
		return check(key)
	})
}

// challenge answers 401 or 438 with realm and a new nonce, unsigned and within the source's rate. It always returns
// false, as authenticate's result.
func (r *request) challenge(code int, cause string) bool {
	r.c.stats.refused(code, cause)
	if !r.c.sources.allow(r.src.Client.Addr()) {
		r.c.stats.limited.Add(1)
		return false
	}
	w := r.begin(r.msg.Type.Error()).ErrorCode(code).
		String(stunmsg.AttrRealm, r.c.cfg.Realm).
		String(stunmsg.AttrNonce, r.c.nonces.make(r.src.Tuple, r.promise(code)))
	if r.modern {
		w.Attr(stunmsg.AttrPasswordAlgorithms, algorithms)
	}
	r.send(w)
	return false
}

// bad answers 400 to a sender that has not authenticated, within the source's rate. It always returns false, as
// authenticate's result.
func (r *request) bad(cause string) bool {
	r.c.stats.refused(400, cause)
	if r.c.sources.allow(r.src.Client.Addr()) {
		r.send(r.begin(r.msg.Type.Error()).ErrorCode(400))
	} else {
		r.c.stats.limited.Add(1)
	}
	return false
}

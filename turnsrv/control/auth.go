package control

import (
	"crypto/subtle"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
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
	username, hasUser := r.msg.Get(stunmsg.AttrUsername)
	realm, hasRealm := r.msg.Get(stunmsg.AttrRealm)
	nonce, hasNonce := r.msg.Get(stunmsg.AttrNonce)
	switch {
	case !r.msg.HasIntegrity():
		return r.challenge(401, "no_credential")
	case !hasUser || !hasRealm || !hasNonce:
		return r.bad("incomplete_credential")
	}
	if len(username) > maxUsername {
		username = username[:maxUsername+1] // no valid name is as long, so that it fails below
	}
	rel := r.src.Relay()
	if rel == nil {
		rel = r.src.Awaited()
		r.awaited = rel != nil
	}
	if rel != nil {
		r.session, _ = rel.Tag().(*session)
	}
	if s := r.session; s != nil && s.proven(r.src.Tuple, username, realm, nonce) {
		return r.authenticateSession()
	}
	return r.authenticateStranger(string(username), string(realm), nonce)
}

// authenticateSession is for a request that almost certainly comes from the allocation's own client.
func (r *request) authenticateSession() bool {
	s := r.session
	if !r.withinRate(s, s.node, units(len(r.msg.Raw))) {
		return false
	}
	r.c.stats.checks.Add(1)
	if !r.msg.CheckIntegrity(s.key) {
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
func (r *request) authenticateStranger(username, realm string, nonce []byte) bool {
	ip := r.src.Client.Addr()
	cost := 1 + r.c.cfg.Keys.Len()
	if !r.c.sources.try(ip, cost) {
		r.c.stats.limited.Add(1)
		return false
	}
	if !r.c.nonces.valid(r.src.Tuple, nonce) {
		r.c.sources.spare(ip, cost-1)
		return r.challenge(438, "stale_nonce")
	}
	r.username = username
	name, badName := credential.Parse(username)
	generation := r.c.cfg.Keys.Generation()
	key, ok := r.c.match(username, r.msg.CheckIntegrity)
	if !ok || badName != nil || realm != r.c.cfg.Realm {
		return r.challenge(401, "wrong_credential")
	}
	if r.c.cfg.Nodes.Banned(name.Node) {
		return r.challenge(401, "banned")
	}
	r.node = name.Node
	// A live allocation outlasts its credential, also where its client moves: a call must not end because a password did.
	s := r.session
	if s == nil {
		s = r.ticketed()
	}
	mine := s != nil && s.username == username
	if !mine && !r.mayBegin(name) {
		return r.challenge(401, "expired")
	}
	n := units(len(r.msg.Raw))
	if _, moves := r.msg.Get(stunmsg.AttrMobilityTicket); moves || r.msg.Type == stunmsg.AllocateRequest {
		n += allocateUnits - 1
	}
	if !mine {
		s = nil
	}
	if !r.withinRate(s, name.Node, n) {
		return false
	}
	r.c.sources.spare(ip, cost)
	r.key, r.proof = key, proof{tuple: r.src.Tuple, nonce: [nonceLen]byte(nonce), generation: generation}
	if mine && s == r.session {
		s.prove(r.proof)
	}
	r.src.MarkAuthenticated()
	return true
}

// proof is what a session's client last authenticated with.
type proof struct {
	tuple      relay.Tuple
	nonce      [nonceLen]byte // valid for the 5-tuple
	generation uint64         // of the secrets that were tried
}

func (s *session) prove(p proof) { s.proof.Store(&p) }

// proven reports whether a request names the session's user and has 5-tuple and nonce of its last proof, and that still
// holds.
func (s *session) proven(t relay.Tuple, username, realm, nonce []byte) bool {
	p := s.proof.Load()
	return p.tuple == t && len(nonce) == nonceLen && subtle.ConstantTimeCompare(p.nonce[:], nonce) == 1 &&
		string(username) == s.username && string(realm) == s.c.cfg.Realm &&
		p.generation == s.c.cfg.Keys.Generation() && s.c.nonces.fresh(nonce)
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
func (c *Control) match(username string, check func([]byte) bool) ([]byte, bool) {
	return c.cfg.Keys.Match(username, c.cfg.Realm, func(key []byte) bool {
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
	r.send(r.begin(r.msg.Type.Error()).ErrorCode(code).
		String(stunmsg.AttrRealm, r.c.cfg.Realm).
		String(stunmsg.AttrNonce, r.c.nonces.make(r.src.Tuple)))
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

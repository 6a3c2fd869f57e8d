package control

import (
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// maxUsername is the longest username that RFC 8489 §14.3 allows; a longer one is refused after the same work.
const maxUsername = 508

// authenticate is RFC 8489 §9.2.4. False where the request has been answered. An unknown user, a wrong password, a
// malformed name, a banned Node and, where no live allocation is concerned, an expired name get the same 401 after
// the same number of HMACs.
func (r *request) authenticate() bool {
	username, hasUser := r.msg.Get(stunmsg.AttrUsername)
	realm, hasRealm := r.msg.Get(stunmsg.AttrRealm)
	nonce, hasNonce := r.msg.Get(stunmsg.AttrNonce)
	switch {
	case !r.msg.HasIntegrity():
		return r.challenge(401, "no_credential")
	case !hasUser || !hasRealm || !hasNonce:
		return r.bad("incomplete_credential")
	case !r.c.nonces.valid(r.src.Tuple, nonce):
		return r.challenge(438, "stale_nonce")
	}
	if len(username) > maxUsername {
		username = username[:maxUsername+1] // no valid name is as long, so that it fails below
	}
	r.username = string(username)
	name, badName := credential.Parse(r.username)
	key, ok := r.c.match(r.username, r.msg.CheckIntegrity)
	if !ok || badName != nil || string(realm) != r.c.cfg.Realm {
		return r.challenge(401, "wrong_credential")
	}
	if r.c.cfg.Nodes.Banned(name.Node) {
		return r.challenge(401, "banned")
	}
	r.node = name.Node
	if rel := r.src.Relay(); rel != nil {
		r.session, _ = rel.Tag().(*session)
	}
	// A live allocation outlasts its credential: a call must not end because a password did.
	mine := r.session != nil && r.session.username == r.username
	if !mine && !r.mayBegin(name) {
		return r.challenge(401, "expired")
	}
	r.key = key
	r.src.MarkAuthenticated()
	return true
}

// mayBegin says whether the credential is good for a new allocation: unexpired, or of a Node that is connected.
func (r *request) mayBegin(name credential.Name) bool {
	late := r.c.now().Sub(name.Expires)
	set := r.c.set.Load()
	if late < 0 || !set.StrictExpiry && !set.TTLOnly && r.c.cfg.Nodes.Connected(name.Node) {
		return true
	}
	r.c.cfg.Nodes.Refused(name.Node, "allocation refused: credential expired "+
		late.Round(time.Second).String()+" ago")
	return false
}

// match tries every secret; it counts the keys for the tests of SECURITY.md's case 16.
func (c *Control) match(username string, check func([]byte) bool) ([]byte, bool) {
	return c.cfg.Keys.Match(username, c.cfg.Realm, func(key []byte) bool {
		c.stats.checks.Add(1)
		return check(key)
	})
}

// challenge answers 401 or 438 with realm and a new nonce, unsigned, within the source's rate.
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

// bad answers 400 to a sender that is not authenticated, within the source's rate.
func (r *request) bad(cause string) bool {
	r.c.stats.refused(400, cause)
	if r.c.sources.allow(r.src.Client.Addr()) {
		r.send(r.begin(r.msg.Type.Error()).ErrorCode(400))
	} else {
		r.c.stats.limited.Add(1)
	}
	return false
}

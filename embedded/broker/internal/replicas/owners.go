package replicas

import (
	"context"
	"crypto/rand"
	"encoding/base64"
)

const (
	// random is the length of a socket id of socket.io, and of the random part of ours.
	random = 20
	mark   = '-' // between that and the owner
)

// NewSID makes a socket id as socket.io does, 20 characters of URL-safe base64. owner, where it is not empty, is the Broker in whose
// process the socket is, in at most 40 letters, digits, - and _: it stands behind them, so that who finds the lock can tell whose
// it was. No id of the original is so long.
func NewSID(owner string) string {
	var b [random * 3 / 4]byte
	_, _ = rand.Read(b[:]) // never fails
	sid := base64.RawURLEncoding.EncodeToString(b[:])
	if owner != "" {
		sid += string(mark) + owner
	}
	return sid
}

// ownerOf is the Broker that a socket id names, empty if it names none.
func ownerOf(sid string) string {
	if len(sid) <= random+1 || sid[random] != mark || !isSID(sid) {
		return ""
	}
	return sid[random+1:]
}

// holds reports whether the value of a Node's key is the socket id of somebody who may be there.
func (r *Replicas) holds(sid, node string) bool {
	return isSID(sid) && sid != r.orphan(node) && !r.abandoned(sid)
}

// abandoned reports whether the Broker that has the socket is gone.
func (r *Replicas) abandoned(sid string) bool {
	owner := ownerOf(sid)
	return owner != "" && r.cfg.Gone(owner)
}

// left is the socket id that holds the lock of node, if its Broker is gone.
func (r *Replicas) left(ctx context.Context, node string) (sid string) {
	if !askable(node) {
		return ""
	}
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		sid, err = r.cfg.Client.GetRange(ctx, node, 0, maxSID).Result()
		return err
	})
	if err != nil || !r.abandoned(sid) {
		return ""
	}
	return sid
}

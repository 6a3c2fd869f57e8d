package nodes

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
)

// What may be wrong with a ban. ErrBansFile wraps whatever is wrong with the file at start.
var (
	ErrBansFile    = errors.New("the bans cannot be read")
	ErrTooManyBans = errors.New("too many bans: lift some first")
	ErrReason      = errors.New("a ban's reason must be at most 1024 bytes of text without control characters")
	ErrDuration    = errors.New("a ban must last longer than nothing")
	ErrNotBanned   = errors.New("this Node is not banned")
)

const maxReason = 1024

// Ban is a Node that may not come in.
type Ban struct {
	Node   string    `json:"node"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is lifted
}

func (b Ban) over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// Banned is what a ban did.
type Banned struct {
	Closed   int  // live allocations
	Cut      bool // its connection to the Broker in this process was ended
	Replaced bool // reason and time of an earlier ban
	Kept     bool // it is on disk; false: the disk did not take it, and it is written as soon as that is possible
	Ban      Ban  // the one that is in force now
}

// Ban bans a Node for the given time, or until it is unbanned if that is 0, and closes its live allocations. Banning a
// banned Node replaces reason and time.
//
// When it returns nil the ban is in force and on disk; if the disk does not take it, [Banned] says so. With an error nothing
// has changed: the errors of nodeid.Valid, ErrReason, ErrDuration or ErrTooManyBans.
func (r *Registry) Ban(node, reason string, lasting time.Duration) (done Banned, err error) {
	if err := nodeid.Valid(node); err != nil {
		return done, err
	}
	if len(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return done, ErrReason
	}
	if lasting < 0 {
		return done, ErrDuration
	}
	now := r.now().UTC().Truncate(time.Millisecond)
	b := Ban{Node: strings.Clone(node), Reason: strings.Clone(reason), Since: now}
	if lasting > 0 {
		b.Until = now.Add(lasting)
	}
	c := change{id: b.Node, ban: &b, by: "the operator"}
	err = r.bans.do(&c)
	c.did.Ban = b
	return c.did, err
}

// cut ends the connection to the Broker in this process and closes the allocations of a Node whose ban has just come into
// force. It returns how many allocations there were. The store of bans calls it for every ban, whoever made it.
func (r *Registry) cut(c *change) (closed int) {
	b := c.ban
	detail := "banned by " + c.by
	if b.Reason != "" {
		detail += ": " + b.Reason
	}
	if !b.Until.IsZero() {
		detail += ", until " + Clock(b.Until, b.Since)
	}
	relays, broker := r.attached()
	if broker != nil {
		c.did.Cut = broker.Disconnect(b.Node, detail)
	}
	if relays != nil {
		closed = relays.CloseNode(b.Node, detail)
	}
	ended := plural.Of(closed, "allocation") + " closed"
	if c.did.Cut {
		ended += ", and its connection to the Broker"
	}
	r.noteAnd(b.Node, stranger, KindBanned, true, detail+"; "+ended, func(n *entry) {
		if c.did.Cut { // a Broker elsewhere knows nothing of the ban yet
			n.joined = false
			n.leave()
		}
	})
	said := []any{"node", b.Node}
	if b.Reason != "" {
		said = append(said, "reason", b.Reason)
	}
	if !b.Until.IsZero() { // left out for good, so that what is there can be read as a time
		said = append(said, "until", b.Until)
	}
	if c.did.Cut {
		said = append(said, "disconnected", true)
	}
	level := slog.LevelInfo
	if c.elsewhere && closed == 0 && !c.did.Cut { // that log has it, and a machine that was away may hear of thousands
		level = slog.LevelDebug
	}
	r.log.Log(context.Background(), level, c.by+" banned a Node", append(said, "closed", closed, "replaced", c.did.Replaced, "kept", c.did.Kept)...)
	return closed
}

// Unban lifts a ban; when it returns nil that is on disk. It returns [ErrNotBanned] if there is none. If the disk does not
// take it, that is an error and the ban stays, unless the disk never took the ban either.
func (r *Registry) Unban(node string) error {
	if err := r.bans.do(&change{id: node}); err != nil {
		return err
	}
	r.note(node, stranger, KindUnbanned, false, "the operator lifted the ban")
	r.log.Info("the operator lifted a ban", "node", node)
	return nil
}

// Banned reports whether a ban on node is in force.
func (r *Registry) Banned(node string) bool {
	_, ok := r.bans.get(node)
	return ok
}

// BanReason returns why node is banned, in the operator's words, if a ban on it is in force.
func (r *Registry) BanReason(node string) (reason string, banned bool) {
	b, ok := r.bans.get(node)
	return b.Reason, ok
}

// BanOf returns the ban in force on node.
func (r *Registry) BanOf(node string) (Ban, bool) { return r.bans.get(node) }

// Bans lists the bans in force, the newest first.
func (r *Registry) Bans() []Ban {
	list := r.bans.list()
	slices.SortFunc(list, func(a, b Ban) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Node, b.Node)
	})
	return list
}

package hooks

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
)

// Registry is what is known of Nodes beyond one question. It is called from many goroutines at once and must not block
// for long. Ids are valid, in their canonical spelling, and must be cloned to be kept: they may be part of a larger
// text. A detail says what happened in plain words.
type Registry interface {
	// BanReason reports whether the Node is banned, and the operator's reason, which may be empty.
	BanReason(node string) (reason string, banned bool)
	// Authenticated and AuthenticationRefused add to the Node's why-record whether it may come in.
	Authenticated(node, detail string)
	AuthenticationRefused(node, detail string)
	// ConfigurationRefused adds that the Broker got no RTC configuration for the Node.
	ConfigurationRefused(node, detail string)
	// AuthorizationRefused adds that the Node may not talk to another.
	AuthorizationRefused(node, detail string)
	// NamedInvalid adds that the Broker was told to disconnect the Node.
	NamedInvalid(node, detail string)
	// JoinedElsewhere is told that a Broker elsewhere got an RTC configuration for the Node, which joins it.
	JoinedElsewhere(node string)
	// Issued is told that the Node was given a credential, and when it ends.
	Issued(node string, expires time.Time)
	// Validated is told of Nodes that a Broker elsewhere has connected now and that were not refused: a part of all, perhaps with
	// duplicates. The slice must not be kept.
	Validated(nodes []string)
	// Authorized is told that from may talk to to, as the Broker was just told.
	Authorized(from, to string)
}

// Policy decides; package policy has the usual ones. It is called from many goroutines at once. Ids are valid, as the
// Broker spells them. A request's body must not be kept.
type Policy interface {
	// Authenticate decides whether a Node may come in.
	Authenticate(ctx context.Context, r policy.Request) policy.Answer
	// Authorize decides whether from may talk to to. body is the Broker's call as it came, nil if there is none.
	Authorize(ctx context.Context, from, to string, body []byte) policy.Answer
	// NeedsBody reports whether Invalid has a use for the Broker's call as it came; it is nil otherwise, since it can
	// be megabytes.
	NeedsBody() bool
	// Invalid calls name for each of the connected nodes that must go. It may go through nodes more than once, while it
	// is called. An error: not everything that decides could be asked.
	Invalid(ctx context.Context, nodes iter.Seq[string], body []byte, name func(node, cause string)) error
	// Message takes a message between two Nodes. It must not block.
	Message(m policy.Message)
}

// ICE is what a Node needs for STUN and TURN. Password is a secret.
type ICE struct {
	STUN, TURN         [2]*URLs // of one machine or of two, in the order that clients should try them
	Username, Password string   // for the TURN URLs
	Expires            time.Time
}

// URLs are some of what a Node is told, written as JSON already, so that an answer only has to copy it. They never change;
// nil are none.
type URLs struct{ list []byte } // JSON strings, separated by commas

// NewURLs makes those of a list, in the order that clients should try them; nil of an empty one.
func NewURLs(list ...string) *URLs {
	if len(list) == 0 {
		return nil
	}
	u := &URLs{}
	for i, url := range list {
		if i > 0 {
			u.list = append(u.list, ',')
		}
		u.list = strictjson.AppendString(u.list, url)
	}
	return u
}

// length is how many bytes both take as one list.
func length(both [2]*URLs) (n int) {
	for _, u := range both {
		if u != nil {
			n += len(u.list) + 1
		}
	}
	return n
}

// ICEProvider issues credentials. It is called from many goroutines at once, only with valid Node ids in their
// canonical spelling.
type ICEProvider interface {
	// source is where the Node connects from, the zero value if that is not known.
	ICE(node string, source netip.Addr) (ICE, error)
}

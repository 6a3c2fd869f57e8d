package hooks

import (
	"context"
	"iter"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// Invalid calls name for each of a Broker's connected nodes that must be disconnected, in the Broker's own spelling:
// impossible ids, banned Nodes, and those that the policy refuses. The registry is not told of the others: the Broker in
// this process tells it by itself who is connected. nodes may be gone through several times. An error: the policy could
// not ask everybody that it should; whoever was named must go all the same, and the others stay, since one hiccup must not
// cut every Node off.
func (d *Decider) Invalid(ctx context.Context, nodes iter.Seq[string], name func(node, cause string)) error {
	v := validity{d: d, start: d.cfg.Now(), name: name, here: true}
	for node := range nodes {
		if err := nodeid.Valid(node); err != nil {
			v.named = true
			name(node, err.Error())
		} else {
			v.banned(node)
		}
	}
	return v.finish(ctx, func(yield func(string) bool) {
		for node := range nodes {
			if nodeid.Valid(node) == nil && !yield(node) {
				return
			}
		}
	}, nil)
}

// validity is one validity check.
type validity struct {
	d     *Decider
	start time.Time
	name  func(node, cause string)
	here  bool // the Broker in this process asks
	named bool // somebody was
	gone  map[string]struct{}
}

// banned names a Node that is banned. The id must be valid.
func (v *validity) banned(node string) bool {
	answer, banned := v.d.banned(nodeid.Canonical(node))
	if banned {
		v.refuse(node, answer.Cause)
	}
	return banned
}

// refuse names a Node, once.
func (v *validity) refuse(node, cause string) {
	if _, twice := v.gone[node]; twice {
		return
	}
	if v.gone == nil {
		v.gone = map[string]struct{}{}
	}
	v.gone[node], v.named = struct{}{}, true
	v.d.cfg.Registry.NamedInvalid(nodeid.Canonical(node), "named invalid to the Broker: "+cause)
	v.name(node, cause)
}

// mostValidated is how many Nodes the registry is told of at once.
const mostValidated = 1024

// finish lets the policy name some of the nodes, and tells the registry of those that stay. Ids must be valid. What
// banned has named is passed over.
func (v *validity) finish(ctx context.Context, nodes iter.Seq[string], body []byte) (err error) {
	stay := func(yield func(string) bool) {
		for node := range nodes {
			if _, out := v.gone[node]; !out && !yield(node) {
				return
			}
		}
	}
	for range stay { // the policy is asked only if there is anybody to ask about
		err = v.d.cfg.Policy.Invalid(ctx, stay, body, v.refuse)
		break
	}
	if !v.here {
		v.tell(stay)
	}
	switch {
	case err != nil:
		v.d.observe("validity", v.start, policy.Failed)
	case v.named:
		v.d.observe("validity", v.start, policy.No)
	default:
		v.d.observe("validity", v.start, policy.Yes)
	}
	return err
}

// tell tells the registry of Nodes that are connected.
func (v *validity) tell(nodes iter.Seq[string]) {
	part := make([]string, 0, mostValidated)
	for node := range nodes {
		if part = append(part, nodeid.Canonical(node)); len(part) == mostValidated {
			v.d.cfg.Registry.Validated(part)
			part = part[:0]
		}
	}
	if len(part) > 0 {
		v.d.cfg.Registry.Validated(part)
	}
}

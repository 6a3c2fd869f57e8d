package app

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
)

// decider answers the Broker in this process by what answers the webhooks too.
type decider struct {
	*hooks.Decider
	now *atomic.Pointer[holding]
}

var _ broker.Decider = decider{}

// Authenticate implements [broker.Decider].
func (d decider) Authenticate(ctx context.Context, join broker.Join) broker.Admission {
	mode := d.now.Load().cfg.Hooks.Authenticate.Mode
	answer := d.Decider.Authenticate(ctx, join.Node, joinData(join.Data), join.Source)
	return broker.Admission{Verdict: verdict(answer), Proven: proves(mode, answer)}
}

// joinData is what a Node sent along, as the original Broker hands it to its webhook.
func joinData(data []string) []byte {
	var text []byte
	switch len(data) {
	case 0:
		return nil
	case 1:
		text, _ = json.Marshal(data[0]) // a string always can be
	default:
		text, _ = json.Marshal(data)
	}
	return text
}

// proves reports whether a Node that was let in has shown what others cannot.
func proves(mode string, answer policy.Answer) bool {
	switch mode {
	case policy.ModeTokens, policy.ModeJWT:
		return answer.OK()
	case policy.ModeUpstream:
		return answer.OK() && answer.Cause == "" // else hooks.upstream.fail_open let it through
	}
	return false
}

// Configuration implements [broker.Decider].
func (d decider) Configuration(ctx context.Context, node string, source netip.Addr) ([]byte, broker.Verdict) {
	rtc, answer := d.Decider.Configuration(ctx, node, source)
	return rtc, verdict(answer)
}

// Authorize implements [broker.Decider].
func (d decider) Authorize(ctx context.Context, from, to string) broker.Verdict {
	return verdict(d.Decider.Authorize(ctx, from, to))
}

// Invalid implements [broker.Decider]. Whoever could not be asked about stays.
func (d decider) Invalid(ctx context.Context, nodes []string, name func(node, cause string)) {
	_ = d.Decider.Invalid(ctx, slices.Values(nodes), name)
}

func verdict(a policy.Answer) broker.Verdict {
	v := broker.Verdict{Outcome: broker.Failed, Cause: a.Cause}
	switch a.Verdict {
	case policy.Yes:
		v.Outcome = broker.Allowed
	case policy.No:
		v.Outcome = broker.Refused
	case policy.Failed:
	}
	return v
}

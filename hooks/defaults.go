package hooks

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
)

// noRegistry knows nothing.
type noRegistry struct{}

func (noRegistry) BanReason(string) (string, bool)      { return "", false }
func (noRegistry) Authenticated(string, string)         {}
func (noRegistry) AuthenticationRefused(string, string) {}
func (noRegistry) ConfigurationRefused(string, string)  {}
func (noRegistry) AuthorizationRefused(string, string)  {}
func (noRegistry) NamedInvalid(string, string)          {}
func (noRegistry) JoinedElsewhere(string)               {}
func (noRegistry) Issued(string, time.Time)             {}
func (noRegistry) Validated([]string)                   {}
func (noRegistry) Authorized(string, string)            {}

// allowAll is the policy of the Broker without webhooks.
type allowAll struct{}

func (allowAll) Authenticate(context.Context, policy.Request) policy.Answer {
	return policy.Answer{Verdict: policy.Yes}
}

func (allowAll) Authorize(context.Context, string, string, []byte) policy.Answer {
	return policy.Answer{Verdict: policy.Yes}
}

func (allowAll) NeedsBody() bool        { return false }
func (allowAll) Message(policy.Message) {}

func (allowAll) Invalid(context.Context, iter.Seq[string], []byte, func(string, string)) error {
	return nil
}

// noICE leaves it at the extra ICE servers.
type noICE struct{}

func (noICE) ICE(string, netip.Addr) (ICE, error) { return ICE{}, nil }

package hooks

import (
	"context"
	"time"
)

// noRegistry knows nothing.
type noRegistry struct{}

func (noRegistry) BanReason(string) (string, bool)      { return "", false }
func (noRegistry) Authenticated(string, string)         {}
func (noRegistry) AuthenticationRefused(string, string) {}
func (noRegistry) ConfigurationRefused(string, string)  {}
func (noRegistry) AuthorizationRefused(string, string)  {}
func (noRegistry) NamedInvalid(string, string)          {}
func (noRegistry) Issued(string, time.Time)             {}
func (noRegistry) Validated([]string)                   {}
func (noRegistry) Authorized(string, string)            {}

// allowAll is the policy of the Broker without webhooks.
type allowAll struct{}

func (allowAll) Authenticate(context.Context, string, []byte, []byte) (bool, string) { return true, "" }
func (allowAll) Authorize(context.Context, string, string, []byte) (bool, string)    { return true, "" }
func (allowAll) NeedsBody() bool                                                     { return false }
func (allowAll) Invalid(context.Context, []string, []byte, func(string, string))     {}
func (allowAll) Message(string, string, []byte)                                      {}

// noICE leaves it at the extra ICE servers.
type noICE struct{}

func (noICE) ICE(string) (ICE, error) { return ICE{}, nil }

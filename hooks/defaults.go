package hooks

import (
	"context"
	"time"
)

// noRegistry knows nothing.
type noRegistry struct{}

func (noRegistry) Banned(string) (bool, string) { return false, "" }
func (noRegistry) Note(string, string, string)  {}
func (noRegistry) Issued(string, time.Time)     {}
func (noRegistry) Connected([]string)           {}
func (noRegistry) Authorized(string, string)    {}

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

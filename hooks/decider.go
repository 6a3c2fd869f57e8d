package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// DeciderConfig is what a Decider is made of. Everything has a default.
type DeciderConfig struct {
	RTC      RTC
	ICE      ICEProvider // nil: only RTC.ExtraICEServers
	Registry Registry    // nil: nothing is known, nobody is banned
	Policy   Policy      // nil: everybody may do everything

	// Own reports whether this program has made up a Node's id to test itself. Others are not let in with such an id
	// ([nodeid.Synthetic]): what they do would be taken for a test. nil: none is.
	Own func(node string) bool

	// Observe is told of each question: the hook ("authenticate", "resolve", "authorize", "validity", "message", and
	// over HTTP "other"), one of the Result constants, and how long it took; over HTTP from the request's header on. It
	// must not block. May be nil.
	Observe func(hook, result string, took time.Duration)
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // nil: time.Now
}

// The results that DeciderConfig.Observe is given.
const (
	ResultOK           = "ok"           // answered; for a yes-or-no question, yes
	ResultRefused      = "refused"      // answered no
	ResultFailed       = "failed"       // answered no, since nobody could decide
	ResultUnauthorized = "unauthorized" // no or wrong token
	ResultForeign      = "foreign"      // a foreign Host or Origin, and no token is asked for
	ResultNotFound     = "not_found"
	ResultMethod       = "method"
	ResultType         = "content_type"
	ResultTooLarge     = "too_large"
	ResultInvalid      = "invalid" // malformed, or an impossible Node id
	ResultTimeout      = "timeout" // the body came too slowly
	ResultError        = "error"   // our fault
)

// Decider answers what a Broker asks about its Nodes, whether the Broker calls webhooks (see [Server]) or lives in this
// process and calls the Decider itself. Bans, the why-records of Nodes and the metrics of questions are its business,
// so that they are the same for both.
//
// A [policy.Answer] of No is a decision: banned, or refused by the policy. Failed is none: an upstream that is down,
// keys that are not loaded, too many tokens waiting to be checked. A Node that is told "authentication failed" gives up
// for good, so a Broker does better to tell one that nobody could decide on to come back.
//
// A Decider is made by NewDecider, has nothing to close, and may be used by many goroutines at once. Its methods wait
// for the policy at most as long as their context lasts.
type Decider struct {
	cfg     DeciderConfig
	log     *slog.Logger
	rtc     atomic.Pointer[rtcTemplate]
	failing atomic.Bool // the last RTC configuration could not be made
}

// NewDecider checks cfg. The error is an ErrRTC.
func NewDecider(cfg DeciderConfig) (*Decider, error) {
	if cfg.Registry == nil {
		cfg.Registry = noRegistry{}
	}
	if cfg.Policy == nil {
		cfg.Policy = allowAll{}
	}
	if cfg.ICE == nil {
		cfg.ICE = noICE{}
	}
	if cfg.Own == nil {
		cfg.Own = func(string) bool { return false }
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string, time.Duration) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Decider{cfg: cfg, log: cfg.Logger}
	first, err := d.Prepare(cfg.RTC)
	if err != nil {
		return nil, err
	}
	first.Apply()
	return d, nil
}

// Prepare checks another RTC configuration. The error is an ErrRTC.
func (d *Decider) Prepare(rtc RTC) (change.Change, error) {
	next, err := newRTCTemplate(rtc)
	if err != nil {
		return change.Change{}, err
	}
	return change.New(func() { d.rtc.Store(next) }, nil), nil
}

// Authenticate decides whether a Node may come in. data is what it sent along, any JSON text, nil if it sent nothing;
// source is the address that it connects from, so that nobody's tries delay those of others, or the zero value if that
// is not known. An impossible node id is refused.
func (d *Decider) Authenticate(ctx context.Context, node string, data []byte, source netip.Addr) policy.Answer {
	start := d.cfg.Now()
	if answer, bad := d.impossible("authenticate", start, node); bad {
		return answer
	}
	return d.authenticate(ctx, start, policy.Request{Node: node, Source: source, Data: data})
}

// authenticate is Authenticate of a valid id. A ban that came while the policy was asked counts.
func (d *Decider) authenticate(ctx context.Context, start time.Time, r policy.Request) policy.Answer {
	node := nodeid.Canonical(r.Node)
	own := nodeid.Synthetic(node) && d.cfg.Own(node)
	answer, refused := d.banned(node)
	if !refused && nodeid.Synthetic(node) && !own {
		answer, refused = policy.Answer{Cause: errKept.Error()}, true
	}
	if !refused {
		answer = d.cfg.Policy.Authenticate(ctx, r)
		if ban, banned := d.banned(node); banned {
			answer = ban
		}
	}
	switch {
	case !answer.OK() && own: // as the policy should; no Node was refused
		d.cfg.Registry.Authenticated(node, "authentication refused, of doctor's own Node: "+answer.Cause)
	case !answer.OK():
		d.cfg.Registry.AuthenticationRefused(node, "authentication refused: "+answer.Cause)
	case answer.Cause != "":
		d.cfg.Registry.Authenticated(node, "authenticated: "+answer.Cause)
	default:
		d.cfg.Registry.Authenticated(node, "authenticated")
	}
	d.observe("authenticate", start, answer.Verdict)
	return answer
}

// Authorize decides whether the Node from may talk to the Node to. It is asked for every message, so a yes is not noted
// in from's why-record. An impossible id is refused.
func (d *Decider) Authorize(ctx context.Context, from, to string) policy.Answer {
	start := d.cfg.Now()
	if answer, bad := d.impossible("authorize", start, from, to); bad {
		return answer
	}
	return d.authorize(ctx, start, from, to, nil)
}

func (d *Decider) authorize(ctx context.Context, start time.Time, from, to string, body []byte) policy.Answer {
	asked := [2]string{from, to}
	from, to = nodeid.Canonical(from), nodeid.Canonical(to)
	answer, banned := d.banned(from)
	if !banned {
		if answer, banned = d.banned(to); banned {
			answer.Cause = "that Node is " + answer.Cause
		} else {
			answer = d.cfg.Policy.Authorize(ctx, asked[0], asked[1], body)
		}
	}
	if answer.OK() {
		d.cfg.Registry.Authorized(from, to)
	} else {
		d.cfg.Registry.AuthorizationRefused(from, "talking to "+strconv.Quote(to)+" refused: "+answer.Cause)
	}
	d.observe("authorize", start, answer.Verdict)
	return answer
}

// Configuration is the RTC configuration of a Node, with a fresh credential of its own in it, as the JSON object that
// the Node reads; nil unless the answer is Yes. A banned Node gets none. Failed: no credential could be made, or there
// is no server to name. source is the address that the Node connects from, by which servers near it may be named, or the zero
// value if that is not known. The context is there for what may have to ask others one day.
func (d *Decider) Configuration(_ context.Context, node string, source netip.Addr) (json.RawMessage, policy.Answer) {
	start := d.cfg.Now()
	if answer, bad := d.impossible("resolve", start, node); bad {
		return nil, answer
	}
	ice, answer := d.configuration(start, node, source, false, false)
	if !answer.OK() {
		return nil, answer
	}
	return d.rtc.Load().append(nil, ice), answer
}

// configuration makes what is a Node's own of its RTC configuration. joins reports that a Broker elsewhere asks, as it does
// when the Node joins it; the Broker in this process tells the registry by itself. byDoctor reports that the command doctor asks, which may
// have the wrong secret: that is what it is to find out.
func (d *Decider) configuration(start time.Time, node string, source netip.Addr, joins, byDoctor bool) (ICE, policy.Answer) {
	node = nodeid.Canonical(node)
	answer, refused := d.banned(node)
	if !refused && strings.HasPrefix(node, nodeid.DoctorPrefix) && !byDoctor && !d.cfg.Own(node) { // a Broker need not ask whether it may come in
		answer, refused = policy.Answer{Cause: errKept.Error()}, true
	}
	if refused {
		d.cfg.Registry.ConfigurationRefused(node, "RTC configuration refused: "+answer.Cause)
		d.observe("resolve", start, policy.No)
		return ICE{}, answer
	}
	ice, err := d.issue(node, source)
	if err != nil {
		if d.failing.CompareAndSwap(false, true) {
			d.log.Error("no RTC configuration can be given to Nodes", "error", err)
		}
		answer = policy.Answer{Verdict: policy.Failed, Cause: "the server could not make one"}
		d.cfg.Registry.ConfigurationRefused(node, "RTC configuration refused: "+answer.Cause)
		d.cfg.Observe("resolve", ResultError, d.cfg.Now().Sub(start))
		return ICE{}, answer
	}
	if d.failing.CompareAndSwap(true, false) {
		d.log.Info("RTC configurations can be given to Nodes again")
	}
	if joins {
		d.cfg.Registry.JoinedElsewhere(node)
	}
	if ice.Username != "" {
		d.cfg.Registry.Issued(node, ice.Expires)
	}
	d.observe("resolve", start, policy.Yes)
	return ice, policy.Answer{Verdict: policy.Yes}
}

// issue makes what a Node needs for STUN and TURN. An RTC configuration without any server is an error.
func (d *Decider) issue(node string, source netip.Addr) (ICE, error) {
	ice, err := d.cfg.ICE.ICE(node, source)
	if err == nil && length(ice.STUN)+length(ice.TURN)+d.rtc.Load().extras == 0 {
		err = errNoServers
	}
	return ice, err
}

// TestConfiguration is the answer of the resolve webhook for a valid Node id, with a fresh credential in it, without a
// look at bans and without a note: for tests of the server by its operator.
func (d *Decider) TestConfiguration(node string) (json.RawMessage, error) {
	ice, err := d.issue(node, netip.Addr{})
	if err != nil {
		return nil, err
	}
	return d.rtc.Load().appendAnswer(nil, ice), nil
}

// Message takes a message that went from a Node to another through the Broker; connected is whether the Broker has the
// receiver. It never waits. The ids may be any text.
func (d *Decider) Message(from, to string, connected bool) {
	d.message(d.cfg.Now(), policy.Message{From: from, To: to, Connected: connected})
}

func (d *Decider) message(start time.Time, m policy.Message) {
	d.cfg.Policy.Message(m)
	d.observe("message", start, policy.Yes)
}

// impossible refuses ids that cannot be a Node's.
func (d *Decider) impossible(hook string, start time.Time, ids ...string) (policy.Answer, bool) {
	for _, id := range ids {
		if err := nodeid.Valid(id); err != nil {
			d.cfg.Observe(hook, ResultInvalid, d.cfg.Now().Sub(start))
			return policy.Answer{Cause: err.Error()}, true
		}
	}
	return policy.Answer{}, false
}

// errKept refuses an id that this program makes up to test itself.
var errKept = errors.New("ids of this kind are kept for crolang-aio's own tests, and this one is none: choose another")

// banned is the answer about a banned Node, by the canonical spelling of its id.
func (d *Decider) banned(node string) (answer policy.Answer, banned bool) {
	reason, banned := d.cfg.Registry.BanReason(node)
	switch {
	case !banned:
		return policy.Answer{}, false
	case reason == "":
		return policy.Answer{Cause: "banned by the operator"}, true
	}
	return policy.Answer{Cause: "banned by the operator: " + reason}, true
}

func (d *Decider) observe(hook string, start time.Time, verdict policy.Verdict) {
	result := ResultRefused
	switch verdict {
	case policy.Yes:
		result = ResultOK
	case policy.Failed:
		result = ResultFailed
	case policy.No:
	}
	d.cfg.Observe(hook, result, d.cfg.Now().Sub(start))
}

// Package peers decides which addresses relays may send to and hear from: a relay must not be a way into the machine
// that it runs on or into the networks behind it.
package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/change"
)

// Recommended is the entry of Config.Deny that stands for everything a public TURN server should refuse: the special
// purpose ranges of IANA's registries, cloud metadata services, and this machine's own addresses.
const Recommended = "recommended"

const defaultRefresh = 10 * time.Second

// Config is what a Policy is made of.
type Config struct {
	// Deny has addresses, prefixes and Recommended. A denied IPv4 address is denied too where an IPv6 address carries
	// it.
	Deny []string
	// Allow has addresses and prefixes. It wins over Deny, for an address as it is written, not for one that carries
	// it.
	Allow []string
	// Public are further addresses of this machine, such as the one that a NAT in front of it has.
	Public []netip.Addr
	// Interfaces lists the addresses of this machine. nil: those of its network interfaces.
	Interfaces func() ([]Interface, error)
	Refresh    time.Duration // how often Run reads them again; default 10 s
	// Changed is called by Run when this machine's addresses have changed: what was decided before may be wrong now.
	// May be nil.
	Changed func()
	Logger  *slog.Logger // nil: discard
}

// Verdict is the answer to one Check.
type Verdict struct {
	Allowed bool
	Cause   string // why not, in plain words; empty where it is allowed
}

// Policy decides about peers. Check and OwnIP take no lock, allocate nothing and may be called from any goroutine.
type Policy struct {
	cfg     Config
	log     *slog.Logger
	lists   atomic.Pointer[lists]
	failing bool // of Run: reading the addresses failed the last time
	wake    chan struct{}

	mu     sync.Mutex   // of those who change own
	public []netip.Addr // see SetPublic
	own    atomic.Pointer[snapshot]
	fleet  atomic.Pointer[fleet] // see SetFleet
}

// lists are the parsed Deny and Allow. They never change.
type lists struct {
	recommended bool
	allow, deny ranges
	special     ranges          // of Recommended
	causes      [forms][]string // of each rule: as it is, and carried in each form
}

// New parses the lists, all mistakes in one error, and reads this machine's addresses.
func New(cfg Config) (*Policy, error) {
	p := &Policy{cfg: cfg, log: cfg.Logger, public: slices.Clone(cfg.Public), wake: make(chan struct{}, 1)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.cfg.Interfaces == nil {
		p.cfg.Interfaces = machineInterfaces
	}
	if p.cfg.Refresh <= 0 {
		p.cfg.Refresh = defaultRefresh
	}
	first, err := p.Prepare(cfg.Deny, cfg.Allow)
	if err != nil {
		return nil, err
	}
	first.Apply()
	if _, err := p.refresh(); err != nil {
		return nil, err
	}
	return p, nil
}

// Prepare parses other lists, all mistakes in one error. What was decided before they hold is for the caller to decide
// again.
func (p *Policy) Prepare(deny, allow []string) (change.Change, error) {
	l, err := parse(deny, allow)
	if err != nil {
		return change.Change{}, err
	}
	return change.New(func() { p.lists.Store(l) }, nil), nil
}

// SetPublic replaces Config.Public.
func (p *Policy) SetPublic(public []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.public = slices.Clone(public)
	p.own.Store(p.snapshot(p.own.Load().read))
}

func parse(denied, allowed []string) (*lists, error) {
	var errs []error
	p := new(lists)
	texts := ownTexts[:]
	var deny, special, allow []entry
	for _, s := range denied {
		if s == Recommended {
			p.recommended = true
			continue
		}
		prefix, err := parsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("turn.peers.deny: %w, nor %q", err, Recommended))
			continue
		}
		deny = append(deny, entry{prefix, len(texts)})
		texts = append(texts, "denied by turn.peers.deny ("+prefix.String()+")")
	}
	if p.recommended {
		for _, r := range recommendedRules {
			if r.what == "" {
				special = append(special, entry{netip.MustParsePrefix(r.prefix), none})
				continue
			}
			special = append(special, entry{netip.MustParsePrefix(r.prefix), len(texts)})
			texts = append(texts, r.what+" ("+r.prefix+"), see turn.peers.allow")
		}
	}
	for _, s := range allowed {
		prefix, err := parsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("turn.peers.allow: %w", err))
			continue
		}
		allow = append(allow, entry{prefix, 0})
	}
	p.deny, p.special, p.allow = newRanges(deny), newRanges(special), newRanges(allow)
	for f := range p.causes {
		for _, text := range texts {
			p.causes[f] = append(p.causes[f], formTexts[f]+text)
		}
	}
	return p, errors.Join(errs...)
}

// parsePrefix reads an address or a prefix. A prefix of IPv4-mapped addresses is the IPv4 one.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := netip.ParsePrefix(s)
	if err != nil {
		return n, fmt.Errorf("%q is neither an address nor a prefix", s)
	}
	if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
		n = netip.PrefixFrom(a.Unmap(), n.Bits()-96)
	}
	if n != n.Masked() {
		return n, fmt.Errorf("%q is neither an address nor a prefix (did you mean %s?)", s, n.Masked())
	}
	return n, nil
}

// Check decides whether ip may be a peer. It knows nothing of ports, nor of the relays of this server: those are the
// caller's business.
func (p *Policy) Check(ip netip.Addr) Verdict {
	if !ip.IsValid() {
		return Verdict{Cause: "not an address"}
	}
	ip = ip.Unmap().WithZone("")
	l, own := p.lists.Load(), p.own.Load()
	if l.allow.find(ip) != none {
		return Verdict{Allowed: true}
	}
	if rule := l.denied(ip, own); rule != none {
		return Verdict{Cause: l.causes[plain][rule]}
	}
	if ip.Is4() {
		return Verdict{Allowed: true}
	}
	var c [3]embedded
	for _, v4 := range embeddedIn(ip, &c) {
		if rule := l.denied(v4.addr, own); rule != none {
			return Verdict{Cause: l.causes[v4.form][rule]}
		}
	}
	return Verdict{Allowed: true}
}

// denied is the rule that denies ip as it is, or none.
func (l *lists) denied(ip netip.Addr, own *snapshot) int {
	if rule := l.deny.find(ip); rule != none || !l.recommended {
		return rule
	}
	if rule := own.find(ip); rule != none {
		return rule
	}
	return l.special.find(ip)
}

// OwnIP reports whether ip is an address of this machine, regardless of the lists.
func (p *Policy) OwnIP(ip netip.Addr) bool {
	return ip.IsValid() && p.own.Load().find(ip.Unmap().WithZone("")) == ruleOwn
}

// Run reads this machine's addresses again every Config.Refresh, until ctx ends. Without it, those that New read stay.
func (p *Policy) Run(ctx context.Context) error {
	tick := time.NewTicker(p.cfg.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-tick.C:
		}
		changed, err := p.refresh()
		switch {
		case err != nil && !p.failing:
			p.log.Warn("keeping the addresses that were read before", "error", err)
		case changed:
			p.log.Debug("this machine's addresses have changed")
			if p.cfg.Changed != nil {
				p.cfg.Changed()
			}
		}
		p.failing = err != nil
	}
}

// Look makes Run read this machine's addresses at once: they may have changed.
func (p *Policy) Look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

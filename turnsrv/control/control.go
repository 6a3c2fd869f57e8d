// Package control handles every STUN and TURN control message: it decides, has pion/turn keep the allocations and the
// data plane the permissions and channels, and answers. Authentication, quotas, peer policy and error codes live here.
//
// The data plane (package relay) calls HandleSTUN with each message; ChannelData and the Send indications of a live
// allocation never come here.
package control

import (
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const (
	maxLifetime       = 3599 * time.Second // pion takes an hour and more for 10 minutes
	defaultTableBytes = 16 << 20
)

// Directory is what control asks about Nodes, and what it tells. Its methods are called for single packets: they must
// be quick and never block.
type Directory interface {
	// Banned reports whether the Node is banned now.
	Banned(node string) bool
	// Connected reports whether the Node is connected to a Broker.
	Connected(node string) bool
	// Opened, Moved, Ended, Refused and Observed add an event to the Node's why-record: an allocation was opened, has
	// another address of its client, or has ended, or something was refused or would be under another setting. They are
	// called only for Nodes that have authenticated. One Ended follows each Opened.
	Opened(node, detail string)
	Moved(node, detail string)
	Ended(node, detail string)
	Refused(node, detail string)
	Observed(node, detail string)
	// SeenAt notes that the Node has authenticated from addr.
	SeenAt(node string, addr netip.Addr)
	// AuthorizedSince reports whether a Broker has been told since then that the two Nodes may talk, whichever asked.
	AuthorizedSince(one, other string, since time.Time) bool
	// SeenPartner reports whether a Node that may talk to node in that sense has been seen at addr since then.
	SeenPartner(node string, addr netip.Addr, since time.Time) bool
}

// PeerMode is what a Broker's authorisations mean for peers.
type PeerMode uint8

// The modes of turn.peers.mode.
const (
	PeersOpen       PeerMode = iota // the peer policy alone decides
	PeersObserve                    // what PeersAuthorized would refuse is granted and noted
	PeersAuthorized                 // only Nodes that a Broker authorised reach each other
)

// Settings are what a reload may change.
type Settings struct {
	Allocations        int           // limit in all; 0: none
	AllocationsPerNode int           // limit by Node; 0: none
	Lifetime           time.Duration // LIFETIME granted, whatever is asked for; at most one hour
	TTLOnly            bool          // while_connected off: a new allocation always needs an unexpired credential
	StrictExpiry       bool          // no LIFETIME beyond the credential's own end
	MaxSession         time.Duration // from the Allocate on; 0: none
	PeerMode           PeerMode
	AuthorizedFor      time.Duration // how long an authorisation counts, with PeerMode
	Mobility           bool          // clients may have tickets, and move by them (RFC 8016)
	TableBytes         int64         // memory that may be kept for one Node's allocations, by estimate; default 16 MiB
	Software           string        // SOFTWARE attribute of successful answers; empty: none
	// Alternate are servers, at most one in each address family, that clients of that family on UDP and TCP are sent to
	// when they ask for a new allocation. TLS and DTLS stay: the certificate's name would be lost (RFC 8489 §10).
	Alternate []netip.AddrPort
	// SHA256 offers what RFC 8489 has beyond RFC 5389: PASSWORD-ALGORITHMS with SHA-256, MESSAGE-INTEGRITY-SHA256, and,
	// without Config.Elsewhere, USERHASH. Nonces are those of before or after a change alone: clients get 438 once.
	SHA256 bool
	// UnauthenticatedPerSecond bounds the answers to one source that has not proved who it is; 0: no bound.
	UnauthenticatedPerSecond int
}

// Config configures a Control.
type Config struct {
	Realm string
	Keys  *credential.Keyring
	// CheckPeer is the peer policy. It reports whether ip may be a peer, and if not, why, in plain words. It must be
	// quick.
	CheckPeer func(ip netip.Addr) (allowed bool, cause string)
	Nodes     Directory
	Ledger    Ledger // nil: what Nodes use is not counted, and not limited
	Settings  Settings
	// Elsewhere returns how many allocations a Node has at other machines, which count for Settings.AllocationsPerNode. It must be
	// quick; nil: there are no other machines.
	Elsewhere func(node string) int
	Fleet     Fleet // nil: there are no other machines, as far as peers are concerned
	// OwnListener reports whether this process listens on a. Such an address is never a peer, whatever the policy
	// allows.
	OwnListener func(a netip.AddrPort) bool
	Engines     int // pion servers; one per core is right
	// OnPanic is called with the value of a panic on one of pion's goroutines, by the deferred function that recovered
	// it. If it is nil the panic is logged.
	OnPanic func(cause any)
	Now     func() time.Time
	Logger  *slog.Logger
}

// Control implements [relay.Handler]. Make one with [New], give it the data plane with [Control.Use] before that runs,
// and close it when the data plane has ended.
type Control struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	plane   Plane
	engines []*engine
	nonces  *nonces
	tickets *tickets
	sources *sources
	quota   *quota
	rates   *nodeRates
	stats   stats
	set     atomic.Pointer[Settings]
	found   atomic.Pointer[[]Discovery] // see Discover
	lastID  atomic.Uint64
	changes atomic.Uint64 // of the peer policy, see Recheck
	drain   atomic.Bool

	mu     sync.Mutex
	live   map[uint64]*session
	byNode map[string]map[uint64]*session
}

// Plane is what control needs of the data plane.
type Plane interface {
	Open(src relay.Source, o relay.OpenOptions) (*relay.Relay, error)
	OpenPair(src relay.Source, o relay.OpenOptions) (r *relay.Relay, failed [2]error)
	RelayAt(a netip.AddrPort) *relay.Relay
	HasRelay(ip netip.Addr, but *relay.Relay) bool
}

// New validates cfg and starts the engines.
func New(cfg Config) (*Control, error) {
	if cfg.Keys == nil || cfg.CheckPeer == nil || cfg.OwnListener == nil || cfg.Nodes == nil {
		return nil, errors.New("control: Keys, CheckPeer, OwnListener and Nodes are needed")
	}
	if cfg.Realm == "" || len(cfg.Realm) > 127 {
		return nil, errors.New("turn.realm must have 1 to 127 bytes")
	}
	if cfg.Ledger == nil {
		cfg.Ledger = noLedger{}
	}
	if cfg.Fleet == nil {
		cfg.Fleet = noFleet{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnPanic == nil {
		cfg.OnPanic = func(cause any) {
			cfg.Logger.Error("control: a panic was stopped", "panic", cause, "stack", string(debug.Stack()))
		}
	}
	c := &Control{
		cfg: cfg, log: cfg.Logger, now: cfg.Now,
		nonces:  newNonces(cfg.Now),
		sources: newSources(cfg.Settings.UnauthenticatedPerSecond, cfg.Now),
		quota:   newQuota(cfg.Elsewhere),
		rates:   newNodeRates(cfg.Now),
		live:    make(map[uint64]*session),
		byNode:  make(map[string]map[uint64]*session),
	}
	var err error
	if c.tickets, err = newTickets(); err != nil {
		return nil, err
	}
	c.Apply(cfg.Settings)
	for range max(1, cfg.Engines) {
		e, err := newEngine(pionLogger{c.log}, cfg.OnPanic)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.engines = append(c.engines, e)
	}
	return c, nil
}

// Use gives control the data plane, once, before that runs.
func (c *Control) Use(p Plane) { c.plane = p }

// Apply swaps the settings. Live allocations keep what they were granted until their next refresh.
func (c *Control) Apply(s Settings) {
	if s.Lifetime <= 0 {
		s.Lifetime = 10 * time.Minute
	}
	s.Lifetime = min(s.Lifetime, maxLifetime)
	if s.TableBytes <= 0 {
		s.TableBytes = defaultTableBytes
	}
	c.quota.limits(s.Allocations, s.AllocationsPerNode, s.TableBytes)
	c.sources.limit.Store(int64(s.UnauthenticatedPerSecond))
	if s.SHA256 && c.resolves() {
		c.cfg.Keys.Remember(c.cfg.Realm)
	} else {
		c.cfg.Keys.Remember("")
	}
	c.set.Store(&s)
}

// Recheck applies a changed peer policy, or changed addresses of this server, to live allocations. When it returns,
// nothing more is relayed to or from peers that are denied now, even if their request was being handled meanwhile.
func (c *Control) Recheck() {
	c.changes.Add(1)
	for _, s := range c.sessions() {
		c.recheck(s)
	}
}

func (c *Control) recheck(s *session) {
	s.legs(func(l *leg) {
		l.relay.Restrict(func(ip netip.Addr) relay.Scope {
			if allowed, _ := c.cfg.CheckPeer(ip); allowed {
				return relay.ScopeAny
			}
			if c.cfg.Fleet.HasRelays(ip) {
				return relay.ScopeFleet
			}
			return 0
		})
	})
}

// Drain makes every new Allocate be refused with 508 from now on; live allocations go on.
func (c *Control) Drain() { c.drain.Store(true) }

// Close ends every allocation and the engines, and waits for them.
func (c *Control) Close() error {
	for _, s := range c.sessions() {
		s.close(causeShutdown)
	}
	var errs []error
	for _, e := range c.engines {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

// Live is the number of live allocations.
func (c *Control) Live() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.live)
}

// Changed returns how many allocations those Nodes have of whom that is another number than at the last call, if there is a
// Config.Elsewhere.
func (c *Control) Changed() map[string]int { return c.quota.news() }

// CloseNode ends every live allocation of a Node and returns how many it ended. When it returns, none of them relays
// any more. It does not miss an Allocate that is being handled if the Node is banned before the call.
func (c *Control) CloseNode(node, cause string) int {
	c.mu.Lock()
	var all []*session
	for _, s := range c.byNode[node] {
		all = append(all, s)
	}
	c.mu.Unlock()
	n := 0
	for _, s := range all {
		if s.close(cause) {
			n++
		}
	}
	return n
}

// CloseAllocation ends the allocation with this id and reports whether there was one.
func (c *Control) CloseAllocation(id, cause string) bool {
	for _, s := range c.sessions() {
		if s.ID() == id {
			return s.close(cause)
		}
	}
	return false
}

// ClientGone is for the data plane to call when the connection of a relay's client has ended, and says why it has.
func (c *Control) ClientGone(r *relay.Relay, cause string) {
	if s, ok := r.Tag().(*session); ok {
		s.close(cause)
	}
}

func (c *Control) sessions() []*session {
	all := c.unordered()
	sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
	return all
}

// added enters a session under its Node.
func (c *Control) added(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended.Load() { // removed has not found it, or will not
		return
	}
	c.live[s.id] = s
	m := c.byNode[s.node]
	if m == nil {
		m = make(map[uint64]*session, 1)
		c.byNode[s.node] = m
	}
	m[s.id] = s
}

// removed takes a session out and gives its place back. This is the one place that tells why it ended.
func (c *Control) removed(s *session, cause string) {
	c.mu.Lock()
	delete(c.live, s.id)
	if m := c.byNode[s.node]; m != nil {
		delete(m, s.id)
		if len(m) == 0 {
			delete(c.byNode, s.node)
		}
	}
	c.mu.Unlock()
	c.quota.give(s.node)
	s.bill(c.now())
	c.stats.ended.Add(1)
	c.stats.closed(s)
	c.cfg.Nodes.Ended(s.node, "allocation "+s.addresses()+" ended: "+cause)
	if c.log.Enabled(nil, slog.LevelDebug) { //nolint:staticcheck // no context here
		c.log.Debug("allocation ended", "node", s.node, "relayed", s.addresses(), "cause", cause)
	}
}

package control

import (
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// The causes with which an allocation ends, as the log and the why-record say them. Where the client's connection has
// ended, the data plane says why.
const (
	causeExpired  = "its lifetime ended without a refresh"
	causeReleased = "released by the client"
	causeSession  = "max_session reached"
	causeShutdown = "the server is shutting down"
	causeBanned   = "the Node is banned"
)

// session is one allocation as control knows it: whose it is, and what it has. The relays of its legs have its permissions
// and channels.
type session struct {
	c      *Control
	engine *engine
	id     uint64
	// first has the IPv4 address, if there is one; second is nil but for a client that was given both families. They are
	// there before anybody can find the session.
	first  leg
	second *leg
	alive  atomic.Int32 // legs
	// missing is the ADDRESS-ERROR-CODE with which the Allocate was answered, where one family of two could not be had.
	missing stunmsg.AddressError

	node     string
	username string
	key      []byte // the client's long-term key, to check and sign with
	txid     [12]byte
	granted  uint32 // seconds, as the Allocate was answered
	started  time.Time
	until    time.Time // the latest end that any refresh may reach
	ended    atomic.Bool

	proof *proof // only for the goroutine that handles its client
	rate  sessionRate

	bills bills

	mu     sync.Mutex
	relays map[netip.AddrPort]time.Time // with PeersAuthorized, the relays that it may reach, and when it last did
	tables *relay.Budget                // charged for relays
}

const (
	maxReached = relay.MaxPermissions
	reachCost  = 128 // bytes in relays
)

// owns reports whether a relay is the session's Node's too. It may be nil.
func (s *session) owns(other *relay.Relay) bool {
	if other == nil {
		return false
	}
	o, ok := other.Tag().(*session)
	return ok && o.node == s.node
}

// mayReach reports whether a Broker authorised the session's Node to reach the Node of the relay other, which is at p.
// It does not ask again about a relay that was reached within the last five minutes, so that a call goes on although
// its authorisation has become old.
func (s *session) mayReach(p netip.AddrPort, other *relay.Relay) bool {
	o, ok := other.Tag().(*session)
	return ok && s.reaches(p, o.started, func(since time.Time) bool {
		return s.node == o.node || s.c.cfg.Nodes.AuthorizedSince(s.node, o.node, since)
	})
}

// reaches is mayReach for a relay that was opened at opened; authorized asks.
func (s *session) reaches(p netip.AddrPort, opened time.Time, authorized func(since time.Time) bool) bool {
	now := s.c.now()
	s.mu.Lock()
	at, known := s.relays[p]
	s.mu.Unlock()
	known = known && now.Sub(at) <= relay.PermissionLife && !at.Before(opened)
	if !known && !authorized(s.c.set.Load().authorizedSince(now)) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reach(p, now)
	return true
}

// reach notes that the relay at p may be reached. Old entries make room. The caller holds mu.
func (s *session) reach(p netip.AddrPort, now time.Time) {
	if _, ok := s.relays[p]; ok {
		s.relays[p] = now
		return
	}
	if len(s.relays) >= maxReached {
		maps.DeleteFunc(s.relays, func(_ netip.AddrPort, at time.Time) bool {
			old := now.Sub(at) > relay.PermissionLife
			if old {
				s.tables.Give(reachCost)
			}
			return old
		})
	}
	if s.ended.Load() || len(s.relays) >= maxReached || !s.tables.Take(reachCost) {
		return
	}
	if s.relays == nil {
		s.relays = make(map[netip.AddrPort]time.Time)
	}
	s.relays[p] = now
}

// forgetReached gives back what reach took.
func (s *session) forgetReached() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables.Give(int64(len(s.relays)) * reachCost)
	s.relays = nil
}

func newSession(c *Control, id uint64) *session {
	return &session{c: c, id: id, engine: c.engines[id%uint64(len(c.engines))]}
}

// ID names the session in the admin API.
func (s *session) ID() string { return strconv.FormatUint(s.id, 36) }

// grant returns the lifetime, in whole seconds, for an Allocate or Refresh that comes now. By RFC 8656 §7.2 nobody gets
// less than the default, and here that is the maximum too, so what the client asks for makes no difference. It is cut
// to what is left of the session; 0 means that nothing is left.
func (s *session) grant(now time.Time) uint32 {
	d := min(s.c.set.Load().Lifetime, s.until.Sub(now))
	if d < time.Second {
		return 0
	}
	return uint32(d / time.Second)
}

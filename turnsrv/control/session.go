package control

import (
	"encoding/binary"
	"maps"
	"net"
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

// session is one allocation as control knows it: whose it is, and until when. The relay has its permissions and
// channels.
type session struct {
	c      *Control
	engine *engine
	relay  *relay.Relay
	id     uint64
	addr   net.UDPAddr // stands for this session in pion
	ip     [16]byte

	node     string
	username string
	key      []byte // the client's long-term key, to check and sign with
	txid     [12]byte
	granted  uint32 // seconds, as the Allocate was answered
	started  time.Time
	until    time.Time // the latest end that any refresh may reach

	expires atomic.Int64 // Unix seconds
	ended   atomic.Bool

	proof proof // only for the goroutine that handles its client
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
	if !ok {
		return false
	}
	now := s.c.now()
	s.mu.Lock()
	at, known := s.relays[p]
	s.mu.Unlock()
	known = known && now.Sub(at) <= relay.PermissionLife && !at.Before(o.started)
	if !known && s.node != o.node && !s.c.cfg.Nodes.AuthorizedSince(s.node, o.node, s.c.set.Load().authorizedSince(now)) {
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

// sessionPrefix makes the address that stands for a session in pion: ULA, so never one of the network's.
var sessionPrefix = [8]byte{0xfd, 'c', 'r', 'o', 'l', 'a', 'n', 'g'}

func newSession(c *Control, id uint64) *session {
	s := &session{c: c, id: id, engine: c.engines[id%uint64(len(c.engines))]}
	copy(s.ip[:], sessionPrefix[:])
	binary.BigEndian.PutUint64(s.ip[8:], id)
	s.addr = net.UDPAddr{IP: s.ip[:], Port: 1}
	return s
}

// sessionID is the id in an address that newSession made, 0 for any other.
func sessionID(a net.Addr) uint64 {
	u, ok := a.(*net.UDPAddr)
	if !ok || len(u.IP) != 16 {
		return 0
	}
	return binary.BigEndian.Uint64(u.IP[8:])
}

// ID names the session in the admin API.
func (s *session) ID() string { return strconv.FormatUint(s.id, 36) }

// end stops relaying at once and gives everything back. It reports whether this call did so, rather than an earlier
// one. It may be called from any goroutine, including pion's, and never calls pion.
func (s *session) end(cause string) bool {
	if s.ended.Swap(true) {
		return false
	}
	s.relay.Close()
	s.forgetReached()
	s.c.removed(s, cause)
	return true
}

// close ends the session and has pion forget it. It must not be called from pion's goroutines.
func (s *session) close(cause string) bool {
	if !s.end(cause) {
		return false
	}
	// No answer means that pion's own timer was quicker, which does no harm.
	_, _ = s.engine.do(s, stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 0) })
	return true
}

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

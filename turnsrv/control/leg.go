package control

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// leg is one relayed transport address of a session: one, or one in each family (RFC 8656 §7.2). Each has a lifetime of
// its own, which pion keeps.
type leg struct {
	s     *session
	relay *relay.Relay
	addr  net.UDPAddr // stands for the leg in pion
	ip    [16]byte

	expires atomic.Int64 // Unix seconds
	ended   atomic.Bool
	closed  atomic.Bool // see closeRelay
}

// legPrefix makes the address that stands for a leg in pion: ULA, so never one of the network's.
var legPrefix = [8]byte{0xfd, 'c', 'r', 'o', 'l', 'a', 'n', 'g'}

// begin makes l a leg of s, which has id<<1 or the number behind it in pion.
func (l *leg) begin(s *session, r *relay.Relay, expires time.Time) {
	l.s, l.relay = s, r
	n := s.id << 1
	if l == s.second {
		n++
	}
	copy(l.ip[:], legPrefix[:])
	binary.BigEndian.PutUint64(l.ip[8:], n)
	l.addr = net.UDPAddr{IP: l.ip[:], Port: 1}
	l.expires.Store(expires.Unix())
	s.alive.Add(1)
	s.c.cfg.Fleet.Opened(s.node, r.Addr())
}

func (l *leg) number() uint64 { return binary.BigEndian.Uint64(l.ip[8:]) }

// legNumber is the number in an address that begin made, 0 for any other.
func legNumber(a net.Addr) uint64 {
	u, ok := a.(*net.UDPAddr)
	if !ok || len(u.IP) != 16 {
		return 0
	}
	return binary.BigEndian.Uint64(u.IP[8:])
}

// legs calls f with every leg of s that it has had.
func (s *session) legs(f func(l *leg)) {
	f(&s.first)
	if s.second != nil {
		f(s.second)
	}
}

// toward is the session's live relay in the address family of ip, or nil.
func (s *session) toward(ip netip.Addr) *relay.Relay { return s.first.relay.For(ip) }

// ofFamily is the live leg in a family as REQUESTED-ADDRESS-FAMILY has it, or nil.
func (s *session) ofFamily(family byte) (found *leg) {
	s.legs(func(l *leg) {
		if !l.ended.Load() && familyOf(l.relay.Addr().Addr()) == family {
			found = l
		}
	})
	return found
}

func familyOf(ip netip.Addr) byte {
	if ip.Is4() {
		return stunmsg.FamilyIPv4
	}
	return stunmsg.FamilyIPv6
}

// addresses are the relayed addresses that s has had, in words.
func (s *session) addresses() string {
	if s.second == nil {
		return s.first.relay.Addr().String()
	}
	return s.first.relay.Addr().String() + " and " + s.second.relay.Addr().String()
}

// expires is when the last live leg ends unless it is refreshed.
func (s *session) expires() time.Time {
	at := int64(0)
	s.legs(func(l *leg) {
		if !l.ended.Load() {
			at = max(at, l.expires.Load())
		}
	})
	return time.Unix(at, 0)
}

// traffic is what all legs have relayed.
func (s *session) traffic() relay.Stats {
	t := s.first.relay.Stats()
	if s.second != nil {
		more := s.second.relay.Stats()
		t.Up.Add(more.Up)
		t.Down.Add(more.Down)
	}
	return t
}

// end stops relaying at once and gives everything back. It reports whether this call did so, rather than an earlier
// one. It may be called from any goroutine, including pion's, and never calls pion.
func (s *session) end(cause string) bool {
	if s.ended.Swap(true) {
		return false
	}
	s.legs((*leg).closeRelay)
	s.forgetReached()
	s.c.removed(s, cause)
	return true
}

// closeRelay stops relaying, and says so before somebody else can have the port.
func (l *leg) closeRelay() {
	if !l.closed.Swap(true) {
		l.s.c.cfg.Fleet.Ended(l.relay.Addr())
	}
	l.relay.Close()
}

// close ends the session and has pion forget it. It must not be called from pion's goroutines.
func (s *session) close(cause string) bool {
	if !s.end(cause) {
		return false
	}
	s.legs(func(l *leg) {
		if !l.ended.Swap(true) {
			l.forget()
		}
	})
	return true
}

// forget has pion forget the leg. No answer means that pion's own timer was quicker, which does no harm.
func (l *leg) forget() {
	_, _ = l.s.engine.do(l, stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 0) })
}

// end ends the leg alone, or the session if no other lives. It reports whether this call did so. It may be called from
// any goroutine, including pion's, and never calls pion.
func (l *leg) end(cause string) bool {
	if l.ended.Swap(true) {
		return false
	}
	if l.s.alive.Add(-1) == 0 {
		l.s.end(cause)
		return true
	}
	l.closeRelay()
	return true
}

// close is end, and has pion forget the leg. It must not be called from pion's goroutines.
func (l *leg) close(cause string) {
	if l.end(cause) {
		l.forget()
	}
}

// refresh gives the leg so many seconds from now, or reports false if pion's timer has just ended it.
func (l *leg) refresh(now time.Time, seconds uint32) bool {
	code, err := l.s.engine.do(l, stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
		w.Uint32(stunmsg.AttrLifetime, seconds)
	})
	if err != nil || code != 0 {
		l.close(causeExpired)
		return false
	}
	l.expires.Store(now.Add(time.Duration(seconds) * time.Second).Unix())
	return true
}

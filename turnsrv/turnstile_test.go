package turnsrv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/slowline"
)

func here(in chan struct{}) bool {
	select {
	case <-in:
		return true
	default:
		return false
	}
}

// TestTurnsGoRound has one source stand in line many times, and another one behind it once: it is in second.
func TestTurnsGoRound(t *testing.T) {
	s := newTurnstile(1)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if in, _ := s.join(a); in != nil {
		t.Fatal("nobody is in, and one waits")
	}
	var crowd []chan struct{}
	for range 5 {
		in, _ := s.join(a)
		crowd = append(crowd, in)
	}
	one, _ := s.join(b)
	_, out := s.join(b)
	if !out() {
		t.Error("cannot leave the line")
	}
	s.leave()
	if !here(crowd[0]) || here(one) {
		t.Error("the first is not the first")
	}
	s.leave()
	if !here(one) || here(crowd[1]) {
		t.Error("the other source waits for all of the crowd")
	}
	for _, in := range crowd[1:] {
		s.leave()
		if !here(in) {
			t.Error("one of the crowd was passed over")
		}
	}
	s.leave()
	if s.free != 1 || len(s.lines) != 0 || s.turns.Len() != 0 {
		t.Errorf("left %d free, %d lines, %d turns", s.free, len(s.lines), s.turns.Len())
	}
	if s.enter(a, time.Hour); s.enter(b, time.Millisecond) {
		t.Error("two are in")
	}
	if s.leave(); s.free != 1 || len(s.lines) != 0 {
		t.Errorf("whoever lost patience still stands in line: %d lines", len(s.lines))
	}
}

// TestTurnstileUnderLoad has many come, wait, lose patience and leave at once.
func TestTurnstileUnderLoad(t *testing.T) {
	const atOnce = 3
	s := newTurnstile(atOnce)
	var inside, most, done atomic.Int64
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			patience := time.Minute
			if i%3 == 0 {
				patience = time.Duration(rand.IntN(int(time.Millisecond)))
			}
			if !s.enter(netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 7)}), patience) {
				return
			}
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(10 * time.Microsecond)
			inside.Add(-1)
			done.Add(1)
			s.leave()
		})
	}
	all.Wait()
	if most.Load() > atOnce || done.Load() < 500*2/3 {
		t.Errorf("%d at once, %d got in", most.Load(), done.Load())
	}
	if s.free != atOnce || len(s.lines) != 0 || s.turns.Len() != 0 {
		t.Errorf("left %d free, %d lines, %d turns", s.free, len(s.lines), s.turns.Len())
	}
}

// TestHelloCrowd has a crowd open connections and begin a handshake of TLS on each, as fast as it can, while honest clients
// do theirs: each of them gets its relay.
func TestHelloCrowd(t *testing.T) {
	s := newSite(t, streamsConfig{Connections: 512, HandshakeTimeout: 4 * patience})
	hello := clientHello(t)
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	for n := range 2 {
		crowd.Go(func() {
			var last [32]net.Conn
			for i := 0; ; i++ {
				select {
				case <-stop:
					for _, c := range last {
						if c != nil {
							_ = c.Close()
						}
					}
					return
				default:
				}
				c, err := dialFrom(s.tcp[0], fmt.Sprintf("127.9.%d.%d", n, 1+i%4))
				if err != nil {
					continue
				}
				_, _ = c.Write(hello)
				if old := last[i%len(last)]; old != nil {
					_ = old.Close()
				}
				last[i%len(last)] = c
			}
		})
	}
	until(t, "handshakes wait", func() bool { return s.stats().HalfOpen > 16 })
	for i := range 8 {
		line, err := slowline.New(s.tcp[1].String(), fmt.Sprintf("127.8.0.%d", 1+i), 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.dialTLS(netip.MustParseAddrPort(line.Addr()), "", nil)
		if err == nil {
			err = ask(c, openRelay)
		}
		if err != nil {
			t.Errorf("honest client %d: %v", i, err)
		}
		_ = c.Close()
		_ = line.Close()
	}
	close(stop)
	crowd.Wait()
	until(t, "all are gone", func() bool { return s.stats().Open == 0 })
	s.turnstile.mu.Lock()
	defer s.turnstile.mu.Unlock()
	if s.turnstile.free == 0 || len(s.turnstile.lines) != 0 {
		t.Errorf("left %d free, %d lines", s.turnstile.free, len(s.turnstile.lines))
	}
}

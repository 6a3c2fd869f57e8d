//go:build linux && !portable

package relay

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	var l load
	ms := time.Millisecond
	for _, c := range []struct {
		wake, until time.Duration
		ended       bool
		share       int32
	}{
		{0, 4 * ms, false, 0},
		{6 * ms, 10 * ms, true, 800},
		{12 * ms, 13 * ms, false, 800},
		{19 * ms, 30 * ms, true, 600},
		{1000 * ms, 1001 * ms, true, 1},
	} {
		l.wakes(c.wake)
		if ended := l.works(c.until); ended != c.ended || l.share.Load() != c.share {
			t.Errorf("until %s: ended %t, share %d; want %t, %d", c.until, ended, l.share.Load(), c.ended, c.share)
		}
	}
	if l.last(1050*ms) != 1 || l.last(2000*ms) != 0 {
		t.Error("an old share counts, or a fresh one does not")
	}
}

// Sets go to and fro all the time, and nothing is lost or overtaken.
func TestSetsChangeHands(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Workers, c.thresholds = 4, thresholds{-1, 2000, 1, 0} })
	// The flows go on until sets have changed hands often enough, which takes windows, not datagrams.
	enough := make(chan struct{})
	var changes [4]int
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer close(enough)
		last := [4]int32{}
		for until := time.Now().Add(patience); changes[1]+changes[2]+changes[3] < 10 && time.Now().Before(until); time.Sleep(time.Millisecond) {
			for i, s := range w.engine.sets {
				if o := s.owner.Load(); o != last[i] {
					last[i] = o
					changes[i]++
				}
			}
		}
	}()
	var flows sync.WaitGroup
	for range 12 {
		c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
		r := c.open(OpenOptions{})
		r.permit(loopback4, ScopeAny)
		r.bind(0x4000, peer.addr, ScopeAny)
		flows.Add(1)
		go func() {
			defer flows.Done()
			buf := make([]byte, 100)
			for i := uint32(0); ; i += 4 {
				select {
				case <-enough:
					return
				default:
				}
				for k := range uint32(4) {
					if _, err := c.WriteToUDPAddrPort(channelData(0x4000, binary.BigEndian.AppendUint32(nil, i+k)), c.server); err != nil {
						t.Error(err)
						return
					}
				}
				for k := range uint32(4) {
					_ = peer.SetReadDeadline(time.Now().Add(patience))
					n, from, err := peer.ReadFromUDPAddrPort(buf)
					if err != nil || binary.BigEndian.Uint32(buf) != i+k {
						t.Errorf("datagram %d instead of %d: %v", binary.BigEndian.Uint32(buf), i+k, err)
						return
					}
					_, _ = peer.WriteToUDPAddrPort(buf[:n], from)
				}
				for k := range uint32(4) {
					_ = c.SetReadDeadline(time.Now().Add(patience))
					if _, _, err := c.ReadFromUDPAddrPort(buf); err != nil || binary.BigEndian.Uint32(buf[4:]) != i+k {
						t.Errorf("datagram %d instead of %d: %v", binary.BigEndian.Uint32(buf[4:]), i+k, err)
						return
					}
				}
			}
		}()
	}
	flows.Wait()
	wg.Wait()
	if changes[0] != 0 || changes[1]+changes[2]+changes[3] < 10 {
		t.Errorf("the sets changed hands %v times", changes)
	}
}

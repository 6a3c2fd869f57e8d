package relay

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// faulty is a world in which what a test chooses panics.
type faulty struct {
	*world
	panics atomic.Int64
	gone   chan *Relay
	atSend atomic.Pointer[netip.AddrPort] // Send indications to this peer
}

func newFaulty(t *testing.T) *faulty {
	f := &faulty{gone: make(chan *Relay, 10)}
	f.world = newWorld(t, func(c *Config) {
		c.OnPanic = func(cause any) {
			if cause != "made by a test" {
				t.Errorf("a panic that nobody made: %v", cause)
			}
			f.panics.Add(1)
		}
		c.OnClientGone = func(r *Relay, cause string) {
			if !strings.Contains(cause, "mistake") {
				return
			}
			f.gone <- r
		}
		c.AllowSend = func(_ *Relay, peer netip.AddrPort) bool {
			if p := f.atSend.Load(); p != nil && *p == peer {
				panic("made by a test")
			}
			return true
		}
	})
	f.control.set(func(src Source, msg []byte) {
		if bytes.Contains(msg, []byte("panic, please")) {
			panic("made by a test")
		}
		src.Send(msg)
		select {
		case f.control.seen <- src:
		default:
		}
	})
	return f
}

var poison = func() []byte {
	b := binding()
	b = append(b, 0x80, 0x22, 0, 13)
	b = append(b, "panic, please\x00\x00\x00"...)
	b[3] = byte(len(b) - 20)
	return b
}()

// ended checks that exactly this relay has ended by a panic, and that the other goes on.
func (f *faulty) ended(r *Relay, check func()) {
	f.Helper()
	select {
	case got := <-f.gone:
		if got != r {
			f.Errorf("the relay %s ended", got.Addr())
		}
	case <-time.After(patience):
		f.Fatal("no relay ended")
	}
	within(f, "it is gone", func() bool { return f.RelayAt(r.Addr()) == nil })
	check()
	if n := f.panics.Load(); n == 0 {
		f.Error("nothing is counted")
	}
}

func TestAPanicEndsOneRelayOnUDP(t *testing.T) {
	f := newFaulty(t)
	peer := newEndpoint(t, loopback4)
	bad, good := f.client(f.udp4), f.client(f.udp4)
	rb, rg := bad.open(OpenOptions{}), good.open(OpenOptions{})
	for _, r := range []*Relay{rb, rg} {
		r.permit(loopback4, ScopeAny)
		r.bind(0x4000, peer.addr, ScopeAny)
	}
	alive := func() {
		t.Helper()
		for range 40 { // more than one batch
			good.send(channelData(0x4000, []byte("up")))
			peer.expect(rg.Addr(), []byte("up"))
			peer.to(rg.Addr(), []byte("down"))
			good.expect(f.udp4, channelData(0x4000, []byte("down")))
		}
		msg := binding()
		good.send(msg)
		good.expect(f.udp4, msg)
	}
	alive()
	f.atSend.Store(&peer.addr)
	bad.send(sendIndication(peer.addr, []byte("x")))
	f.ended(rb, alive)
	f.atSend.Store(nil)

	// In the control plane; with a relay it ends, without one nothing does.
	again := f.client(f.udp4)
	ra := again.open(OpenOptions{})
	again.send(poison)
	f.ended(ra, alive)
	before := f.panics.Load()
	bad.send(poison)
	within(t, "it is counted", func() bool { return f.panics.Load() > before })
	alive()
	again.open(OpenOptions{}).Close()
}

func TestAPanicEndsOneStream(t *testing.T) {
	for _, tr := range []Transport{TCP, TLS} {
		t.Run(tr.String(), func(t *testing.T) {
			f := newFaulty(t)
			s := f.streams(tr)
			peer := newEndpoint(t, loopback4)
			bad, worse, good := s.client(), s.client(), s.client()
			open := func(c *streamClient) *Relay {
				r, err := f.Open(c.src, OpenOptions{Family: 4})
				if err != nil {
					t.Fatal(err)
				}
				r.permit(loopback4, ScopeAny)
				r.bind(0x4000, peer.addr, ScopeAny)
				return r
			}
			rb, rw, rg := open(bad), open(worse), open(good)
			alive := func() {
				t.Helper()
				good.put(padded(channelData(0x4000, []byte("up"))))
				peer.expect(rg.Addr(), []byte("up"))
				peer.to(rg.Addr(), []byte("down"))
				good.expect(padded(channelData(0x4000, []byte("down"))))
			}
			bad.put(poison)
			f.ended(rb, alive)
			bad.closed()
			f.atSend.Store(&peer.addr)
			worse.put(sendIndication(peer.addr, []byte("x")))
			f.ended(rw, alive)
			worse.closed()
			if err := <-s.errs; !errors.Is(err, errPanicked) {
				t.Errorf("ServeStream: %v", err)
			}
		})
	}
	t.Run("DTLS", func(t *testing.T) {
		f := newFaulty(t)
		c, src, errs := messageConn(t, f.world)
		r, err := f.Open(src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		c.to(src.Server, poison)
		f.ended(r, func() {})
		if err := <-errs; !errors.Is(err, errPanicked) {
			t.Errorf("ServeMessages: %v", err)
		}
	})
}

// A client whose crypto/tls has ever more to say and that reads nothing is cut off.
func TestUnreadAnswersEndAConnection(t *testing.T) {
	w := newWorld(t)
	s := w.streams(TCP)
	c := s.client()
	c.src.MarkAuthenticated()
	conn := c.src.stream.tcp
	junk := make([]byte, 16<<10)
	var err error
	for total := 0; err == nil && total < 64<<20; total += len(junk) {
		_, err = conn.Write(junk) // as crypto/tls does, past all that drops data
	}
	if !errors.Is(err, errTooMuch) {
		t.Fatalf("writing without end: %v", err)
	}
	select {
	case err := <-s.errs:
		if err != nil {
			t.Logf("ServeStream: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the connection goes on")
	}
	if got, _ := conn.writeError(); got != errTooMuch.Error() {
		t.Errorf("it ended because of %q", got)
	}
	_ = c.Conn.(*net.TCPConn).Close()
}

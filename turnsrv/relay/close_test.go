//go:build unix

package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// drain empties a socket's buffer and says how many datagrams were in it.
func (e *endpoint) drain() (n int) {
	raw, err := e.SyscallConn()
	if err != nil {
		e.Fatal(err)
	}
	b := make([]byte, 2048)
	_ = e.SetReadDeadline(time.Time{})
	_ = raw.Read(func(fd uintptr) bool {
		for {
			if _, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT); err != nil {
				return true
			}
			n++
		}
	})
	return n
}

// flood sends a lot until stop is closed, and leaves others some time.
func flood(wg *sync.WaitGroup, stop chan struct{}, send func() error) {
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = send()
			}
			if i%8 == 0 {
				time.Sleep(200 * time.Microsecond)
			}
		}
	}()
}

// When Close returns nothing more is relayed, either way, however much is on its way.
func TestCloseStopsAtOnce(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
		r := c.open(OpenOptions{})
		r.permit(loopback4, ScopeAny)
		r.bind(0x4000, peer.addr, ScopeAny)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		msg := channelData(0x4000, make([]byte, 100))
		flood(&wg, stop, func() error { _, err := c.WriteToUDPAddrPort(msg, c.server); return err })
		flood(&wg, stop, func() error { _, err := peer.WriteToUDPAddrPort(msg, r.Addr()); return err })
		within(t, "traffic both ways", func() bool {
			s := r.Stats()
			return s.Up.Datagrams > 100 && s.Down.Datagrams > 100
		})
		r.Close()
		// Loopback delivers while it is sent: what counts as relayed before the end is in the buffers already.
		s := r.Stats()
		c.drain()
		peer.drain()
		time.Sleep(5 * time.Millisecond)
		if up, down := peer.drain(), c.drain(); up+down != 0 {
			t.Errorf("%d datagrams went up and %d down after Close", up, down)
		}
		if now := r.Stats(); now.Up.Datagrams != s.Up.Datagrams || now.Down.Datagrams != s.Down.Datagrams {
			t.Errorf("counted %+v, and after Close %+v", s, now)
		}
		close(stop)
		wg.Wait()
	}
}

// The Handler may close the relay of the client that it hears: what was sent before goes through, what follows not.
func TestCloseInHandler(t *testing.T) {
	w := newWorld(t)
	for range 50 {
		c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
		r := c.open(OpenOptions{})
		r.permit(loopback4, ScopeAny)
		r.bind(0x4000, peer.addr, ScopeAny)
		w.control.set(func(src Source, msg []byte) {
			if o := src.Relay(); o != r {
				t.Errorf("Source.Relay is %p", o)
			}
			r.Close()
			if src.Relay() != nil {
				t.Error("the relay is still found")
			}
			src.Send(msg)
		})
		c.send(channelData(0x4000, []byte("before")))
		end := binding()
		c.send(end)
		c.send(channelData(0x4000, []byte("after")))
		c.expect(c.server, end)
		peer.expect(r.Addr(), []byte("before"))
		w.control.set(nil)
		marker := binding()
		c.send(marker)
		c.expect(c.server, marker)
		peer.nothing(time.Millisecond)
		<-w.control.seen
	}
}

// Relays come and go while data flows, so that descriptors and ports are used again at once: nobody ever gets what
// is another's.
func TestCloseRaces(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PortMin, c.PortMax = 27200, 27211 })
	s := w.streams(TCP)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for id := byte(1); id <= 6; id++ {
		ip := netip.AddrFrom4([4]byte{127, 0, 1, id})
		peer := newEndpoint(t, ip)
		data := bytes.Repeat([]byte{id}, 100)
		msg := channelData(0x4000, data)
		var src Source
		var send func() error
		var receive func(b []byte) (int, error)
		if id <= 4 {
			c := w.client(w.udp4)
			src = c.src
			send = func() error { _, err := c.WriteToUDPAddrPort(msg, c.server); return err }
			receive = func(b []byte) (int, error) {
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				return c.Read(b)
			}
		} else {
			c := s.client()
			src = c.src
			send = func() error { _, err := c.Write(msg); return err }
			receive = func(b []byte) (int, error) {
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				// Frame by frame: between Permit and Bind Data indications come too.
				if _, err := io.ReadFull(c, b[:4]); err != nil {
					return 0, err
				}
				n, err := stunmsg.FrameSize(b[:4])
				if err == nil {
					_, err = io.ReadFull(c, b[4:n])
				}
				return n, err
			}
		}
		check := func(what string, f func(b []byte) (int, error)) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				b := make([]byte, 2048)
				for {
					n, err := f(b)
					if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
						return
					}
					if n > 10 && b[n-1] != id {
						t.Errorf("%s %d got %d bytes of %d", what, id, n, b[n-1])
						return
					}
				}
			}()
		}
		check("peer", func(b []byte) (int, error) {
			_ = peer.SetReadDeadline(time.Now().Add(time.Second))
			return peer.Read(b)
		})
		check("client", receive)
		flood(&wg, stop, send)
		var mu sync.Mutex
		to := w.udp4
		flood(&wg, stop, func() error {
			mu.Lock()
			a := to
			mu.Unlock()
			if a == w.udp4 {
				return nil
			}
			_, err := peer.WriteToUDPAddrPort(data, a)
			return err
		})
		flood(&wg, stop, func() error {
			r, err := w.Open(src, OpenOptions{Family: 4})
			if err != nil {
				if !errors.Is(err, ErrNoPorts) {
					t.Error(err)
				}
				return err
			}
			r.permit(ip, ScopeAny)
			r.bind(0x4000, peer.addr, ScopeAny)
			mu.Lock()
			to = r.Addr()
			mu.Unlock()
			time.Sleep(time.Duration(id) * 200 * time.Microsecond)
			go r.Close()
			r.Close()
			if w.RelayAt(r.Addr()) == r || src.Relay() != nil {
				t.Error("a closed relay is found")
			}
			return nil
		})
	}
	time.Sleep(time.Second)
	close(stop)
	wg.Wait()
	if n := w.FreePorts(4); n != 12 {
		t.Errorf("%d of 12 ports are free", n)
	}
}

// The end of everything while all of it is busy.
func TestRunEndsUnderLoad(t *testing.T) {
	for range 5 {
		w := newWorld(t)
		s := w.streams(TCP)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 3 {
			c, sc, peer := w.client(w.udp4), s.client(), newEndpoint(t, loopback4)
			msg := padded(channelData(0x4000, make([]byte, 100)))
			for _, src := range []Source{c.src, sc.src} {
				r, err := w.Open(src, OpenOptions{Family: 4})
				if err != nil {
					t.Fatal(err)
				}
				r.permit(loopback4, ScopeAny)
				r.bind(0x4000, peer.addr, ScopeAny)
				flood(&wg, stop, func() error { _, err := peer.WriteToUDPAddrPort(msg, r.Addr()); return err })
				flood(&wg, stop, func() error { src.Send(msg); return nil })
			}
			flood(&wg, stop, func() error { _, err := c.WriteToUDPAddrPort(msg, c.server); return err })
			flood(&wg, stop, func() error { _, err := sc.Write(msg); return err })
			flood(&wg, stop, func() error {
				if r, err := w.Open(c.src, OpenOptions{Family: 6}); err == nil {
					r.Close()
				}
				return nil
			})
		}
		time.Sleep(20 * time.Millisecond)
		w.stop()
		select {
		case err := <-w.ended:
			w.ended <- err
		case <-time.After(patience):
			t.Fatal("Run does not end")
		}
		if n := w.FreePorts(4); n != 2001 {
			t.Errorf("%d ports are free", n)
		}
		close(stop)
		wg.Wait()
	}
}

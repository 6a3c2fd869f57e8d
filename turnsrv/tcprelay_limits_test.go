package turnsrv

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peertcp"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// moving is a clock for Config.Now.
type moving struct{ ahead atomic.Int64 }

func (m *moving) now() time.Time        { return time.Now().Add(time.Duration(m.ahead.Load())) }
func (m *moving) move(by time.Duration) { m.ahead.Add(int64(by)) }

// inBoth asks for a relayed address in each family.
func inBoth(w *stunmsg.Builder) { turnclient.Both(w) }

func TestTCPRelayInBothFamilies(t *testing.T) {
	s := startServer(t, offersTCP)
	c := s.client(t, "tcp", s.plain, "n")
	a := must(c.AllocateTCP(within(t), inBoth))(t)
	for want, l := range map[netip.AddrPort]*net.TCPListener{
		a.Relayed: must(net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))(t),
		a.Also:    must(net.ListenTCP("tcp6", &net.TCPAddr{IP: net.IPv6loopback}))(t),
	} {
		defer l.Close()
		data, peer := connected(t, c, l)
		if from := peer.RemoteAddr().String(); from != want.String() {
			t.Errorf("the peer sees %s, not %s", from, want)
		}
		crosses(t, want.String(), data, peer, 10_000)
	}
	must(c.Do(within(t), stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{stunmsg.FamilyIPv6, 0, 0, 0}).Uint32(stunmsg.AttrLifetime, 0)
	}))(t)
	_, err := c.Connect(within(t), netip.MustParseAddrPort("[::1]:9"))
	wantCode(t, "IPv6 when that has ended", err, 443)
	l, _ := tcpPeer(t)
	data, peer := connected(t, c, l)
	crosses(t, "IPv4 when IPv6 has ended", data, peer, 10_000)
}

// floods sends to w without end, and reads from r until that ends; got counts.
func floods(wg *sync.WaitGroup, w io.Writer, r io.Reader) (got *atomic.Int64, wrote, read chan error) {
	got, wrote, read = new(atomic.Int64), make(chan error, 1), make(chan error, 1)
	wg.Go(func() {
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				wrote <- err
				return
			}
		}
	})
	wg.Go(func() {
		for b := make([]byte, 64<<10); ; {
			n, err := r.Read(b)
			got.Add(int64(n))
			if err != nil {
				read <- err
				return
			}
		}
	})
	return got, wrote, read
}

// Whatever ends the allocation, or bars its peer, resets its connections, both ends of them, and no byte passes when the
// call has returned.
func TestTCPRelayEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *testServer, c *turnclient.Client){
		"Refresh": func(t *testing.T, _ *testServer, c *turnclient.Client) { must(c.Refresh(within(t), 0))(t) },
		"ban":     func(_ *testing.T, s *testServer, _ *turnclient.Client) { s.CloseNode("n", "banned") },
		"operator": func(_ *testing.T, s *testServer, _ *turnclient.Client) {
			s.CloseAllocation(s.Allocations()[0].ID, "closed")
		},
		"policy": func(t *testing.T, s *testServer, _ *turnclient.Client) {
			change := must(s.cfg.Peers.Prepare([]string{"0.0.0.0/0"}, nil))(t)
			change.Apply()
			s.Recheck()
		},
		"shutdown": func(t *testing.T, s *testServer, _ *turnclient.Client) {
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		},
		"client": func(t *testing.T, s *testServer, c *turnclient.Client) {
			c.Close()
			eventually(t, "the allocation is gone", func() bool { return s.Live() == 0 })
		},
	} {
		for _, transport := range []string{"tcp", "tls"} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				s := startServer(t, offersTCP)
				c := s.client(t, transport, s.plain, "n")
				must(c.AllocateTCP(within(t), nil))(t)
				l, at := tcpPeer(t)
				data, peer := connected(t, c, l)
				waiting := must(c.Connect(within(t), netip.AddrPortFrom(at.Addr(), second(t, l).Port())))(t)
				var wg sync.WaitGroup
				up, dataWrote, peerRead := floods(&wg, data, peer)
				down, peerWrote, dataRead := floods(&wg, peer, data)
				eventually(t, "bytes pass", func() bool { return up.Load() > 1<<20 && down.Load() > 1<<20 })
				end(t, s, c)
				// The system tells of a reset once, whoever asks first.
				for _, end := range [][2]chan error{{peerRead, peerWrote}, {dataRead, dataWrote}} {
					if one, other := <-end[0], <-end[1]; !errors.Is(one, syscall.ECONNRESET) && !errors.Is(other, syscall.ECONNRESET) {
						t.Errorf("it ended with %v, %v", one, other)
					}
				}
				wg.Wait()
				eventually(t, "all that came is counted, but for a piece of which not all went", func() bool {
					var counted relay.Stats
					for _, n := range s.Stats().Traffic {
						counted.Up.Add(n.Total.Up)
						counted.Down.Add(n.Total.Down)
					}
					return up.Load()-int64(counted.Up.Bytes) <= peertcp.Piece && down.Load()-int64(counted.Down.Bytes) <= peertcp.Piece
				})
				if name == "policy" {
					if n := s.Allocations()[0].Peers; n != 0 {
						t.Errorf("%d connections are left", n)
					}
				}
				if name != "shutdown" {
					_, err := s.client(t, "tcp", s.plain, "n").Join(within(t), waiting)
					wantCode(t, "ConnectionBind of one that waited", err, 400)
				}
			})
		}
	}
}

// second is another peer.
func second(t *testing.T, _ *net.TCPListener) netip.AddrPort {
	_, at := tcpPeer(t)
	return at
}

// Who does not read makes the other wait, and nothing is lost, in either direction.
func TestTCPRelayBackpressure(t *testing.T) {
	s := startServer(t, offersTCP)
	for _, transport := range []string{"tcp", "tls"} {
		for _, up := range []bool{true, false} {
			c := s.client(t, transport, s.plain, "n")
			must(c.AllocateTCP(within(t), nil))(t)
			l, _ := tcpPeer(t)
			data, peer := connected(t, c, l)
			var from, to net.Conn = data, peer
			if !up {
				from, to = peer, data
			}
			before := tracesNow().heap
			sent := 0
			for b := make([]byte, 64<<10); ; {
				_ = from.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
				n, err := from.Write(b)
				if sent += n; err != nil {
					break
				}
				if sent > 64<<20 {
					t.Fatalf("%s, up %v: %d bytes went, and nobody read them", transport, up, sent)
				}
			}
			if n := int64(tracesNow().heap) - int64(before); n > 1<<20 {
				t.Errorf("%s, up %v: %d bytes of heap for one connection", transport, up, n)
			}
			if transport == "tcp" || !up { // after a write that was cut short, TLS is of no use any more
				_ = from.(*net.TCPConn).CloseWrite()
				if !up || transport == "tcp" {
					if n, err := io.Copy(io.Discard, to); err != nil || n != int64(sent) {
						t.Errorf("%s, up %v: %d bytes of %d came, %v", transport, up, n, sent, err)
					}
				}
			}
			c.Close()
			eventually(t, "the allocation is gone", func() bool { return s.Live() == 0 })
		}
	}
}

// blackhole is where attempts to connect get no answer: a listener with a full queue.
func blackhole(t *testing.T) uint16 {
	t.Helper()
	l := must(net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4zero}))(t)
	t.Cleanup(func() { l.Close() })
	shrink(t, l)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	for {
		d := net.Dialer{Timeout: 200 * time.Millisecond}
		c, err := d.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
		if err != nil {
			return port
		}
		t.Cleanup(func() { c.Close() })
	}
}

// A thousand attempts that never connect: as many as may be are kept for 30 s, and all have an answer.
func TestTCPRelayAttemptsThatNeverConnect(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems answer where a queue is full")
	}
	clock := new(moving)
	s := startServer(t, func(c *Config) {
		offersTCP(c)
		c.Now = clock.now
		c.Peers = must(peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: []string{"127.0.0.0/8"}}))(t)
	})
	port := blackhole(t)
	before := s.traces(t)
	cred := must(s.keys.Issue("n", time.Hour, time.Now()))(t)
	// So many requests have to wait for their turn, and the last answers for the clock.
	all, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := must(turnclient.Dial(all, turnclient.Options{
		Transport: "tcp", Addr: s.plain, Username: cred.Username, Password: cred.Password, Timeout: time.Minute,
	}))(t)
	defer c.Close()
	must(c.AllocateTCP(all, nil))(t)
	idle := tracesNow()
	codes := make(chan int, 1000)
	for i := range 1000 {
		go func() {
			_, err := c.Connect(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1 + byte(i>>8), byte(i)}), port))
			codes <- turnclient.Code(err)
		}()
	}
	for range 1000 - peertcp.MaxConns {
		if code := <-codes; code != 508 {
			t.Fatalf("%d, want 508", code)
		}
	}
	if n := s.Allocations()[0].Peers; n != peertcp.MaxConns {
		t.Errorf("%d attempts, want %d", n, peertcp.MaxConns)
	}
	must(c.Refresh(within(t), time.Minute))(t) // nothing waits for them
	clock.move(peertcp.Patience + time.Second)
	for range peertcp.MaxConns {
		if code := <-codes; code != 447 {
			t.Fatalf("%d, want 447", code)
		}
	}
	eventually(t, "nothing is left of the attempts", func() bool {
		now := tracesNow()
		return s.Allocations()[0].Peers == 0 && now.files <= idle.files && s.Stats().TableBytes < 64<<10
	})
	must(c.Refresh(within(t), 0))(t)
	c.Close()
	s.unharmed(t, before)
}

// A connection that no client binds is reset after 30 s, whichever side has made it.
func TestTCPRelayUnbound(t *testing.T) {
	clock := new(moving)
	s := startServer(t, func(c *Config) { offersTCP(c); c.Now = clock.now })
	c := s.client(t, "tls", s.tls, "n")
	a := must(c.AllocateTCP(within(t), nil))(t)
	l, at := tcpPeer(t)
	if err := c.Permit(within(t), at); err != nil {
		t.Fatal(err)
	}
	id := must(c.Connect(within(t), at))(t)
	one := patient(t, must(l.AcceptTCP())(t))
	other := patient(t, must(net.Dial("tcp4", a.Relayed.String()))(t))
	<-c.Attempts()
	if n := s.Allocations()[0].Peers; n != 2 {
		t.Errorf("%d connections wait, want 2", n)
	}
	clock.move(peertcp.Patience + time.Second)
	for _, peer := range []net.Conn{one, other} {
		if _, err := peer.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
	}
	_, err := c.Join(within(t), id)
	wantCode(t, "ConnectionBind when it is too late", err, 400)
	if n := s.Allocations()[0].Peers; n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// The limits of bits per second hold for TCP: it waits, and nothing is dropped.
func TestTCPRelayWaitsForItsRate(t *testing.T) {
	for name, limit := range map[string]func(*Settings){
		"each": func(s *Settings) { s.BitsPerSecond = 8 << 20 },
		"all":  func(s *Settings) { s.TotalBitsPerSecond = 8 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			still := time.Now()
			var ahead atomic.Int64
			s := startServer(t, func(c *Config) {
				offersTCP(c)
				limit(&c.Settings)
				c.Now = func() time.Time { return still.Add(time.Duration(ahead.Load())) }
			})
			c := s.client(t, "tcp", s.plain, "n")
			must(c.AllocateTCP(within(t), nil))(t)
			l, _ := tcpPeer(t)
			data, peer := connected(t, c, l)
			const all = 2 << 20
			go func() {
				_, _ = data.Write(make([]byte, all))
				_ = data.(*net.TCPConn).CloseWrite()
			}()
			up := func() uint64 { return s.Allocations()[0].Stats.Up.Bytes }
			eventually(t, "the first burst passes", func() bool { return up() > 128<<10 })
			time.Sleep(100 * time.Millisecond) // time that the clock does not see
			if n := up(); n > 512<<10 {        // a quarter of a second's worth is 256 kB
				t.Errorf("%d bytes passed in no time", n)
			}
			done := make(chan int64, 1)
			go func() { n, _ := io.Copy(io.Discard, peer); done <- n }()
			for {
				select {
				case n := <-done:
					if n != all || s.Allocations()[0].Stats.Up.Dropped != 0 {
						t.Errorf("%d bytes of %d came", n, all)
					}
					if passed := time.Duration(ahead.Load()); passed < time.Second {
						t.Errorf("2 MB in %v", passed)
					}
					return
				case <-time.After(10 * time.Millisecond):
					ahead.Add(int64(50 * time.Millisecond))
				}
			}
		})
	}
}

// brokered is a Directory by which a Broker has let no two Nodes talk.
type brokered struct {
	nobody
	refused chan string
}

func (b brokered) Refused(_, detail string) { b.refused <- detail }

// turn.peers.mode holds for a Connect as for any peer, and the why-record says what became of one.
func TestTCPRelayWhereTheBrokerAuthorises(t *testing.T) {
	b := brokered{refused: make(chan string, 10)}
	s := startServer(t, func(c *Config) {
		offersTCP(c)
		c.Nodes, c.Settings.PeerMode = b, control.PeersAuthorized
	})
	one, other := s.client(t, "tcp", s.plain, "a"), s.client(t, "tcp", s.plain, "b")
	must(one.AllocateTCP(within(t), nil))(t)
	a := must(other.AllocateTCP(within(t), nil))(t)
	_, at := tcpPeer(t)
	for _, peer := range []netip.AddrPort{a.Relayed, at} {
		_, err := one.Connect(within(t), peer)
		wantCode(t, "Connect to "+peer.String(), err, 403)
		if said := <-b.refused; said != "peer 127.0.0.1 refused: no Broker authorised this Node to talk to one that is there, see turn.peers.mode" {
			t.Error(said)
		}
	}
	same := s.client(t, "tcp", s.plain, "b")
	must(same.AllocateTCP(within(t), nil))(t)
	_, err := same.Connect(within(t), a.Relayed)
	wantCode(t, "Connect to a relay of one's own, without a permission there", err, 447)
}

// A client that asks for a mobility ticket too has its relay for TCP, and no ticket.
func TestTCPRelayHasNoTicket(t *testing.T) {
	s := startServer(t, func(c *Config) { offersTCP(c); c.Settings.Mobility = true })
	c := s.client(t, "tcp", s.plain, "n")
	m := must(c.Do(within(t), stunmsg.AllocateRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedTransport, []byte{6, 0, 0, 0}).Attr(stunmsg.AttrMobilityTicket, nil)
	}))(t)
	if v, ok := m.Get(stunmsg.AttrMobilityTicket); ok {
		t.Errorf("a ticket: %x", v)
	}
	c.Close()
	eventually(t, "the allocation is gone", func() bool { return s.Live() == 0 })
}

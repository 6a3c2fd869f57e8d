package turnsrv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

func mobile(c *Config) {
	c.Settings.Mobility = true
	c.Settings.AllocationsPerNode = 1
}

// A client moves from any transport to any other and back to where it was, with an address in each family: it keeps
// both, its channels and its place, and what it had before ends.
func TestMobilityOverTransports(t *testing.T) {
	s := startServer(t, mobile)
	for _, from := range transports {
		for _, to := range transports {
			t.Run(from+" to "+to, func(t *testing.T) {
				node := from + to
				dial := s.roamer(t, node)
				a := dial(from, s.plain)
				al := must(a.Allocate(within(t), func(w *stunmsg.Builder) { turnclient.Both(w); turnclient.Mobile(w) }))(t)
				four, at4 := listenUDP(t, "127.0.0.1:0")
				six, at6 := listenUDP(t, "[::1]:0")
				for i, at := range []func() error{
					func() error { return a.Bind(within(t), 0x4000, at4) }, func() error { return a.Bind(within(t), 0x4001, at6) },
				} {
					if err := at(); err != nil {
						t.Fatal(i, err)
					}
				}
				talk := func(c *turnclient.Client, what string) {
					t.Helper()
					echoes(t, c, 0x4000, four, what+" by IPv4")
					echoes(t, c, 0x4001, six, what+" by IPv6")
				}
				talk(a, "at home")
				b := dial(to, s.tls)
				next := must(b.Move(within(t), al.Ticket))(t)
				talk(a, "before the other speaks")
				talk(b, "from there")
				if from == "udp" {
					wantCode(t, "the old 5-tuple", a.Permit(within(t), at4), 437)
				} else {
					ended(t, a)
				}
				wantCode(t, "a second allocation", allocateAs(t, s, node), 486)
				c := dial(from, s.plain)
				must(c.Move(within(t), next))(t)
				talk(c, "back again")
				eventually(t, "it is where it came, with all that it had", func() bool { // what is relayed is counted a moment later
					all := slices.DeleteFunc(s.Allocations(), func(a control.Allocation) bool { return a.Node != node })
					return len(all) == 1 && all[0].Relayed == al.Relayed && all[0].Also == al.Also && all[0].Client == c.LocalAddr() &&
						all[0].Transport == from && all[0].Stats.Up.Datagrams == 8 && all[0].Stats.Down.Datagrams == 8 && all[0].Channels == 2
				})
				if n := s.CloseNode(node, "banned by the test"); n != 1 {
					t.Errorf("a ban ends %d", n)
				}
				if from == "udp" {
					wantCode(t, "after the ban", c.Permit(within(t), at4), 437)
				}
			})
		}
	}
	// 16 moves, each of 4 datagrams at home, 2 from there and 2 back again.
	for tr, what := range s.Stats().Traffic {
		if what.Live != 0 || what.Opened != 4 || what.Total.Up.Datagrams != 4*8 {
			t.Errorf("%s: %+v", tr, what)
		}
	}
}

// roamer dials as one user.
func (s *testServer) roamer(t *testing.T, node string) func(transport, addr string) *turnclient.Client {
	t.Helper()
	cred := must(s.keys.Issue(node, time.Hour, time.Now()))(t)
	return func(transport, addr string) *turnclient.Client {
		t.Helper()
		c := must(turnclient.Dial(within(t), turnclient.Options{Transport: transport, Addr: addr, Username: cred.Username, Password: cred.Password}))(t)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func ended(t *testing.T, c *turnclient.Client) {
	t.Helper()
	select {
	case <-c.Ended():
	case <-time.After(20 * time.Second):
		t.Error("the old connection is still open")
	}
}

func allocateAs(t *testing.T, s *testServer, node string) error {
	t.Helper()
	_, err := s.client(t, "udp", s.plain, node).Allocate(within(t), nil)
	return err
}

// A connection that ends takes the allocation of a client with it, unless that has a ticket and may come back.
func TestMobileAllocationOutlivesItsConnection(t *testing.T) {
	s := startServer(t, mobile)
	for _, transport := range []string{"tcp", "tls", "dtls"} {
		dial := s.roamer(t, transport)
		a := dial(transport, s.plain)
		al := must(a.Allocate(within(t), turnclient.Mobile))(t)
		peer, at := listenUDP(t, "127.0.0.1:0")
		if err := a.Bind(within(t), 0x4000, at); err != nil {
			t.Fatal(err)
		}
		_ = a.Close()
		if transport != "dtls" { // its end may not have been noticed
			eventually(t, "the connection has ended", func() bool { return s.Connections(byName[transport]) == 0 })
		}
		b := dial(transport, s.plain)
		next := must(b.Move(within(t), al.Ticket))(t)
		if transport != "dtls" {
			if _, err := peer.WriteToUDPAddrPort([]byte("what came meanwhile"), al.Relayed); err != nil {
				t.Fatal(err)
			}
			if d, err := b.Receive(within(t)); err != nil || string(d.Data) != "what came meanwhile" {
				t.Errorf("%s: got %q, %v", transport, d.Data, err)
			}
		}
		echoes(t, b, 0x4000, peer, "back")
		c := dial("udp", s.plain)
		if _, err := c.Do(within(t), stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
			w.Attr(stunmsg.AttrMobilityTicket, next).Uint32(stunmsg.AttrLifetime, 0)
		}); err != nil {
			t.Error(err)
		}
		if s.Live() != 0 {
			t.Error("it lives on")
		}
		wantCode(t, "what is left of it", b.Permit(within(t), at), 437)
	}
}

var byName = map[string]relay.Transport{"udp": relay.UDP, "tcp": relay.TCP, "tls": relay.TLS, "dtls": relay.DTLS}

// Clients move all the time, in any way, while data flows both ways, and some give up in the middle: nothing is left behind.
func TestMovingChurn(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Settings.Mobility = true })
	before := s.traces(t)
	rounds := 12
	if long {
		rounds = 1000
	}
	const clients = 8
	var all sync.WaitGroup
	var moves atomic.Int64
	for n := range clients {
		all.Go(func() {
			r := rand.New(rand.NewPCG(8, uint64(n)))
			for i := range rounds {
				if err := s.roam(t, r, fmt.Sprint("roaming ", n), i, &moves); err != nil {
					t.Errorf("client %d, round %d: %v", n, i, err)
					return
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d moves", moves.Load())
	for n := range clients {
		s.CloseNode(fmt.Sprint("roaming ", n), "the test ends")
	}
	eventually(t, "no allocation is left", func() bool { return s.Live() == 0 })
	if st := s.Stats(); st.Allocated != st.Ended {
		t.Errorf("%d were made, %d ended", st.Allocated, st.Ended)
	}
	s.unharmed(t, before)
}

// roam opens an allocation, has a peer send to it, moves it a few times and leaves it in some way.
func (s *testServer) roam(t *testing.T, r *rand.Rand, node string, round int, moves *atomic.Int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cred, err := s.keys.Issue(node, time.Hour, time.Now())
	if err != nil {
		return err
	}
	var open []*turnclient.Client
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	dial := func() (*turnclient.Client, error) {
		c, err := turnclient.Dial(ctx, turnclient.Options{
			Transport: transports[r.IntN(4)], Addr: s.plain, Username: cred.Username, Password: cred.Password, Timeout: 20 * time.Second, Queue: 4,
		})
		if err == nil {
			open = append(open, c)
		}
		return c, err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	a, err := c.Allocate(ctx, turnclient.Mobile)
	if err != nil {
		return fmt.Errorf("Allocate: %w", err)
	}
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer peer.Close()
	if err := c.Bind(ctx, 0x4000, peer.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		return fmt.Errorf("ChannelBind: %w", err)
	}
	var flood sync.WaitGroup
	stop := make(chan struct{})
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				_, _ = peer.WriteToUDPAddrPort([]byte("down"), a.Relayed)
			}
		}
	})
	defer flood.Wait()
	defer close(stop)
	ticket := a.Ticket
	for i := range 1 + r.IntN(4) {
		next, err := dial()
		if err != nil {
			return err
		}
		if r.IntN(4) == 0 {
			_ = c.Close() // it comes to the server before or after the ticket
		}
		if ticket, err = next.Move(ctx, ticket); err != nil {
			return fmt.Errorf("move %d: %w", i, err)
		}
		moves.Add(1)
		if r.IntN(4) == 0 {
			continue // it moves on without a word
		}
		c = next
		word := fmt.Appendf(nil, "%s %d %d", node, round, i)
		if err := heard(ctx, c, peer, word); err != nil {
			return fmt.Errorf("move %d to %T: %w", i, c.Conn(), err)
		}
	}
	switch r.IntN(3) {
	case 0:
		if _, err := c.Refresh(ctx, 0); err != nil && turnclient.Code(err) != 437 { // it may be awaited elsewhere
			select {
			case <-c.Ended(): // or was closed above
			default:
				return fmt.Errorf("Refresh: %w", err)
			}
		}
	case 1:
		s.CloseNode(node, "banned by the test")
	}
	return nil
}

// heard has c say a word until the peer has heard it.
func heard(ctx context.Context, c *turnclient.Client, peer *net.UDPConn, word []byte) error {
	buf := make([]byte, 2000)
	for ctx.Err() == nil {
		if err := c.SendChannel(0x4000, word); err != nil {
			return err
		}
		_ = peer.SetReadDeadline(time.Now().Add(time.Second))
		n, _, err := peer.ReadFromUDP(buf)
		if err == nil && bytes.Equal(buf[:n], word) {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return ctx.Err()
}

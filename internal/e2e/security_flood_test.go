//go:build linux

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// flood is what strangers send, from many addresses of loopback.
type flood struct {
	s          *server
	perSecond  int
	handshakes int
	sent, late atomic.Int64
	opened     atomic.Int64
	half       atomic.Int64 // connections that are open
	hello      string
}

// floodRequests are unauthenticated: without a credential, with a forged one, and Bindings.
func floodRequests() (all [][]byte) {
	for i := range 64 {
		id := turnclient.NewID()
		typ := []stunmsg.Type{stunmsg.BindingRequest, stunmsg.AllocateRequest, stunmsg.AllocateRequest, stunmsg.RefreshRequest}[i%4]
		w := stunmsg.Begin(nil, typ, id[:])
		if i%4 > 0 && i%8 < 4 {
			w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}).String(stunmsg.AttrUsername, fmt.Sprint(9_999_999_999-i, ":flood")).
				String(stunmsg.AttrRealm, "crolang").String(stunmsg.AttrNonce, "AAAAAAAAAAAAAAAA").Integrity([]byte("x"))
		}
		all = append(all, w.Bytes())
	}
	return all
}

// datagrams sends perSecond requests a second over UDP until ctx ends.
func (f *flood) datagrams(ctx context.Context, t *testing.T) {
	var socks []*net.UDPConn
	for i := range 64 {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 2, byte(1+i))})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetReadBuffer(4096) // answers are dropped there
		socks = append(socks, c)
	}
	to := netip.MustParseAddrPort(f.s.turn)
	requests := floodRequests()
	begun, n := time.Now(), 0
	for ctx.Err() == nil {
		due := int(time.Since(begun).Seconds() * float64(f.perSecond))
		if due-n > f.perSecond/10 { // the machine is busy: what was missed is not sent in one go
			f.late.Add(int64(due - n - f.perSecond/10))
			begun = begun.Add(time.Duration(float64(due-n-f.perSecond/10) / float64(f.perSecond) * float64(time.Second)))
			continue
		}
		for ; n < due; n++ {
			if _, err := socks[n%len(socks)].WriteToUDPAddrPort(requests[n%len(requests)], to); err == nil {
				f.sent.Add(1)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// connections keeps handshakes of TLS half-open until ctx ends: a hello, and nothing behind it.
func (f *flood) connections(ctx context.Context, all *sync.WaitGroup) {
	for i := range f.handshakes {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 3, byte(1+i/100))}}
		all.Go(func() {
			for ctx.Err() == nil {
				c, err := d.DialContext(ctx, "tcp", f.s.tls)
				if err != nil {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				f.opened.Add(1)
				f.half.Add(1)
				_, _ = io.WriteString(c, f.hello)
				_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
				stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
				_, _ = io.Copy(io.Discard, c) // until the server has had enough
				stop()
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
				f.half.Add(-1)
				select {
				case <-ctx.Done():
				case <-time.After(500 * time.Millisecond):
				}
			}
		})
	}
}

// newcomer is an honest client from its coming to its allocation.
func (s *server) newcomer(ctx context.Context, transport, user, password string) (time.Duration, error) {
	begun := time.Now()
	c, err := turnclient.Dial(ctx, turnclient.Options{Transport: transport, Addr: s.address(transport), Username: user, Password: password, Timeout: 20 * time.Second})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err = c.Allocate(ctx, nil); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	_, err = c.Refresh(ctx, 0)
	return took, err
}

// Issue 3's flood: while strangers send 50 000 requests a second and hold 2 000 handshakes half-open, honest clients
// get their allocations, and what they relay keeps arriving. Memory is bounded, and no packet is worth a line of log.
func TestFloodLeavesHonestClientsAlone(t *testing.T) {
	s := serve(t, "allow = []", onLoopback, "unauthenticated_per_second = 0", "unauthenticated_per_second = 200")
	var hello strings.Builder
	_ = tls.Client(writeOnly{nil, &hello}, &tls.Config{ServerName: "x", MinVersion: tls.VersionTLS12}).Handshake()
	f := &flood{s: s, perSecond: 50_000, handshakes: 2000, hello: hello.String()}
	if raceEnabled {
		f.perSecond, f.handshakes = 10_000, 1000 // the race detector slows both sides
	}
	before := s.traces(t)

	// Two calls that are under way, over UDP and TLS.
	calls := map[string]*call{}
	for _, transport := range []string{"udp", "tls"} {
		calls[transport] = s.newCall(t, transport)
	}
	user, password := s.credentials(t, "newcomer")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { f.datagrams(ctx, t) })
	f.connections(ctx, &all)
	eventually(t, "the handshakes are open", time.Minute, func() bool { return f.opened.Load() >= int64(f.handshakes) })
	for _, c := range calls {
		all.Go(func() { c.talk(ctx) })
	}

	// 8 s of it: 5 newcomers on each transport.
	floodBegun, sentBefore := time.Now(), f.sent.Load()
	var most int64
	for range 5 {
		for _, transport := range transports {
			took, err := s.newcomer(patiently(t), transport, user, password)
			switch {
			case err != nil:
				t.Errorf("a newcomer over %s: %v", transport, err)
			case took > 10*time.Second: // 1 s on a machine that has cores to spare for both sides
				t.Errorf("a newcomer over %s has waited %s", transport, took)
			}
			t.Logf("a newcomer over %s has its allocation after %s", transport, took.Round(time.Millisecond))
			most = max(most, s.memory())
		}
		time.Sleep(time.Second)
	}
	rate := float64(f.sent.Load()-sentBefore) / time.Since(floodBegun).Seconds()
	cancel()
	all.Wait()
	t.Logf("%.0f requests/s, %d connections of which %d at once, %d MB at most, before %d MB", rate, f.opened.Load(), f.handshakes, most>>20, before.memory>>20)
	for transport, c := range calls {
		sent, back := c.sent.Load(), c.back.Load()
		t.Logf("a call over %s: %d of %d datagrams came back, the longest pause was %s", transport, back, sent, time.Duration(c.pause.Load()).Round(time.Millisecond))
		if back < sent/2 || sent < 50 {
			t.Errorf("a call over %s: %d of %d datagrams came back", transport, back, sent)
		}
		must(c.client.Refresh(patiently(t), 0))(t)
		_ = c.client.Close()
	}
	room := int64(256 << 20)
	if raceEnabled {
		room = 2 << 30
	}
	if most > before.memory+room {
		t.Errorf("%d MB of memory", most>>20)
	}
	s.unharmed(t, before)
}

// call sends 50 datagrams a second to an echo and counts what comes back.
type call struct {
	client            *turnclient.Client
	sent, back, pause atomic.Int64
}

func (s *server) newCall(t *testing.T, transport string) *call {
	t.Helper()
	c := &call{client: s.client(t, transport, "caller")}
	must(c.client.Allocate(patiently(t), nil))(t)
	sock, peer := udpPeer(t)
	if err := c.client.Bind(patiently(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	relays(t, c.client, sock, "hello")
	go func() { // ends with the socket
		buf := make([]byte, 2000)
		_ = sock.SetReadDeadline(time.Time{})
		for {
			n, from, err := sock.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = sock.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return c
}

func (c *call) talk(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if c.client.SendChannel(0x4000, make([]byte, 160)) == nil {
				c.sent.Add(1)
			}
		case <-c.client.Data():
			c.back.Add(1)
			c.pause.Store(max(c.pause.Load(), int64(time.Since(last))))
			last = time.Now()
		}
	}
}

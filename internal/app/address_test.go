package app

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// mirror is a STUN server elsewhere that says what a test wants; empty: nothing.
type mirror struct {
	url  string
	says atomic.Value // string
}

func startMirror(t *testing.T, says string) *mirror {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{url: "stun:" + conn.LocalAddr().String()}
	m.says.Store(says)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if ip, err := netip.ParseAddr(m.says.Load().(string)); err == nil && n >= 20 {
				_, _ = conn.WriteToUDP(stunmsg.Begin(nil, stunmsg.BindingRequest.Success(), buf[8:20]).
					XORAddr(stunmsg.AttrXORMappedAddress, netip.AddrPortFrom(ip, 1)).Bytes(), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return m
}

// eventually waits for what another goroutine does in its own time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func ids(all []findings.Finding) (out []string) {
	for _, w := range all {
		out = append(out, w.ID)
	}
	return out
}

// exchange sends a datagram each way between two allocations that know each other by their relayed addresses.
func exchange(t *testing.T, a, b *turnclient.Client, atA, atB netip.AddrPort) {
	t.Helper()
	for _, d := range []struct {
		from, to *turnclient.Client
		src, dst netip.AddrPort
	}{{a, b, atA, atB}, {b, a, atB, atA}} {
		if err := errors.Join(d.from.Permit(t.Context(), d.dst), d.to.Permit(t.Context(), d.src)); err != nil {
			t.Fatal(err)
		}
		if err := d.from.Send(d.dst, []byte("to "+d.dst.String())); err != nil {
			t.Fatal(err)
		}
		got, err := d.to.Receive(t.Context())
		if err != nil || got.Peer != d.src || string(got.Data) != "to "+d.dst.String() {
			t.Fatalf("%+v, %v, want a datagram from %s", got, err, d.src)
		}
	}
}

// The address outside is another one in the middle of everything.
func TestAddressChanges(t *testing.T) {
	stun := startMirror(t, "5.9.8.7")
	s := startSite(t, "[public]\nipv4 = 'auto'\nstun = ['"+stun.url+"']\n")
	events := s.nodes.Subscribe(t.Context())
	resolve := func() string {
		_, text := s.post("/resolve-rtc-configuration", `{"id":"Alice"}`, "")
		return text
	}
	if text := resolve(); !strings.Contains(text, "turn:5.9.8.7:") {
		t.Fatal(text)
	}
	a := s.client("a")
	atA := s.allocate(a)
	if atA.Addr().String() != "5.9.8.7" {
		t.Fatal(atA)
	}

	stun.says.Store("5.9.8.8")
	for e := range events {
		if e.Kind == "address" {
			if e.Node != "" || !strings.Contains(e.Detail, "from 5.9.8.7") || !strings.Contains(e.Detail, "to 5.9.8.8") {
				t.Errorf("%+v", e)
			}
			break
		}
	}
	if text := resolve(); !strings.Contains(text, "turn:5.9.8.8:") || strings.Contains(text, "5.9.8.7") {
		t.Error(text)
	}
	if got := s.report.status().Public.IPv4; got != "5.9.8.8" {
		t.Error(got)
	}
	b := s.client("b")
	atB := s.allocate(b)
	if atB.Addr().String() != "5.9.8.8" {
		t.Error(atB)
	}
	if _, err := a.Refresh(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	if live := s.turn.Allocations(); live[0].Relayed != atA {
		t.Errorf("a live allocation moved to %s", live[0].Relayed)
	}
	exchange(t, a, b, atA, atB)
	// But for live relays, both addresses are this machine's. Nor is one relay to be found at the other's address.
	for _, peer := range []netip.AddrPort{
		netip.AddrPortFrom(atA.Addr(), 9), netip.AddrPortFrom(atB.Addr(), 9),
		netip.AddrPortFrom(atA.Addr(), atB.Port()), netip.AddrPortFrom(atB.Addr(), atA.Port()),
	} {
		if err := b.Bind(t.Context(), 0x4007, peer); turnclient.Code(err) != 403 {
			t.Errorf("%s: %v", peer, err)
		}
	}
	// When nobody has it any more, the old address is anybody's.
	if _, err := a.Refresh(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old address is given up", func() bool { return b.Permit(t.Context(), atA) == nil })
	if n := strings.Count(s.log.String(), "the address of this server has changed"); n != 1 {
		t.Errorf("said %d times:\n%s", n, s.log.String())
	}
}

// A peer that is this machine's own from now on is one no more.
func TestAddressBecomesOurs(t *testing.T) {
	stun := startMirror(t, "5.9.8.7")
	s := startSite(t, "[public]\nipv4 = 'auto'\nstun = ['"+stun.url+"']\n")
	c := s.client("a")
	s.allocate(c)
	peer := netip.MustParseAddrPort("5.9.8.8:9")
	if err := errors.Join(c.Permit(t.Context(), peer), c.Bind(t.Context(), 0x4001, peer)); err != nil {
		t.Fatal(err)
	}
	stun.says.Store("5.9.8.8")
	eventually(t, "permission and channel end", func() bool {
		x := s.turn.Allocations()[0]
		return x.Channels == 0
	})
}

func TestSilentSTUN(t *testing.T) {
	quiet, stun := startMirror(t, ""), startMirror(t, "5.9.8.7")
	begun := time.Now()
	s := startSite(t, "[public]\nipv4 = 'auto'\nstun = ['"+quiet.url+"', '"+stun.url+"']\n")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the start took %v", took)
	}
	eventually(t, "the silent one is named", func() bool { return slices.Contains(ids(s.report.status().Warnings), "public.stun") })
	stun.says.Store("")
	eventually(t, "both are named", func() bool { return strings.Contains(s.log.String(), quiet.url+", "+stun.url) })
	if got := s.report.status().Public.IPv4; got != "5.9.8.7" {
		t.Errorf("the last known address is gone, there is %s", got)
	}
	quiet.says.Store("5.9.8.7")
	stun.says.Store("5.9.8.7")
	eventually(t, "nothing is named", func() bool { return !slices.Contains(ids(s.report.status().Warnings), "public.stun") })
	if n := strings.Count(s.log.String(), quiet.url+" of public.stun"); n != 1 {
		t.Errorf("said %d times:\n%s", n, s.log.String())
	}
	// Another list of servers is asked at the reload, and a fixed address wins over them all.
	other := startMirror(t, "5.9.8.9")
	s.reloadTo("[public]\nipv4 = 'auto'\nstun = ['" + other.url + "']\n")
	if got := s.report.status().Public.IPv4; got != "5.9.8.9" {
		t.Error(got)
	}
	s.reloadTo("[public]\nipv4 = '5.9.8.1'\nstun = ['" + other.url + "']\n")
	if got := s.report.status().Public.IPv4; got != "5.9.8.1" {
		t.Error(got)
	}
	eventually(t, "the contradiction is named", func() bool { return slices.Contains(ids(s.report.status().Warnings), "public.differs") })
	s.reloadTo("")
	if got := s.report.status().Public.IPv4; got != "127.0.0.1" {
		t.Error(got)
	}
}

func TestPublicHostDoesNotResolve(t *testing.T) {
	s := startSite(t, "[public]\nhost = 'no-such-host.invalid'\n")
	eventually(t, "it is named", func() bool { return slices.Contains(ids(s.report.status().Warnings), "public.host") })
	if text := s.log.String(); !strings.Contains(text, "public.host no-such-host.invalid cannot be resolved") {
		t.Error(text)
	}
}

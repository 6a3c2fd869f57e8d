package main

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
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

// often makes the watch of the addresses quick.
func often(a *app) { a.addresses.look, a.addresses.ask = 10*time.Millisecond, 20*time.Millisecond }

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
	s := startSite(t, "[public]\nipv4 = 'auto'\nstun = ['"+stun.url+"']\n", often)
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
	if got := s.status().Public.IPv4; got != "5.9.8.8" {
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
		if err := b.Permit(t.Context(), peer); turnclient.Code(err) != 403 {
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
	s := startSite(t, "[public]\nipv4 = 'auto'\nstun = ['"+stun.url+"']\n", often)
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
	s := startSite(t, "[public]\nipv4 = 'auto'\nstun = ['"+quiet.url+"', '"+stun.url+"']\n", often)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the start took %v", took)
	}
	eventually(t, "the silent one is named", func() bool { return slices.Contains(ids(s.status().Warnings), "public.stun") })
	stun.says.Store("")
	eventually(t, "both are named", func() bool { return strings.Contains(s.log.String(), quiet.url+", "+stun.url) })
	if got := s.status().Public.IPv4; got != "5.9.8.7" {
		t.Errorf("the last known address is gone, there is %s", got)
	}
	quiet.says.Store("5.9.8.7")
	stun.says.Store("5.9.8.7")
	eventually(t, "nothing is named", func() bool { return !slices.Contains(ids(s.status().Warnings), "public.stun") })
	if n := strings.Count(s.log.String(), quiet.url+" of public.stun"); n != 1 {
		t.Errorf("said %d times:\n%s", n, s.log.String())
	}
	// Another list of servers is asked at the reload, and a fixed address wins over them all.
	other := startMirror(t, "5.9.8.9")
	s.reloadTo("[public]\nipv4 = 'auto'\nstun = ['" + other.url + "']\n")
	if got := s.status().Public.IPv4; got != "5.9.8.9" {
		t.Error(got)
	}
	s.reloadTo("[public]\nipv4 = '5.9.8.1'\nstun = ['" + other.url + "']\n")
	if got := s.status().Public.IPv4; got != "5.9.8.1" {
		t.Error(got)
	}
	eventually(t, "the contradiction is named", func() bool { return slices.Contains(ids(s.status().Warnings), "public.differs") })
	s.reloadTo("")
	if got := s.status().Public.IPv4; got != "127.0.0.1" {
		t.Error(got)
	}
}

func TestPublicHostDoesNotResolve(t *testing.T) {
	s := startSite(t, "[public]\nhost = 'no-such-host.invalid'\n")
	eventually(t, "it is named", func() bool { return slices.Contains(ids(s.status().Warnings), "public.host") })
	if text := s.log.String(); !strings.Contains(text, "public.host no-such-host.invalid cannot be resolved") {
		t.Error(text)
	}
}

func TestPublicFindings(t *testing.T) {
	at := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	auto := config.Public{Host: "auto", IPv4: "auto", IPv6: "off"}
	lan, docker := turnsrv.Family{Bind: at("192.168.1.5"), Advertise: at("192.168.1.5")}, turnsrv.Family{Bind: at("172.17.0.2"), Advertise: at("172.17.0.2")}
	outside := turnsrv.Family{Bind: at("5.9.8.7"), Advertise: at("5.9.8.7")}
	nat := turnsrv.Family{Bind: at("192.168.1.5"), Advertise: at("5.9.8.7")}
	for name, c := range map[string]struct {
		cfg  config.Public
		ipv4 turnsrv.Family
		s    situation
		want []string
		says string
	}{
		"a server on the Internet":        {auto, outside, situation{exposed: true}, nil, ""},
		"a private address":               {auto, lan, situation{exposed: true}, []string{"public.private"}, "clients are told 192.168.1.5, a private address"},
		"a private address, not exposed":  {auto, lan, situation{}, nil, ""},
		"loopback":                        {auto, turnsrv.Family{Bind: at("127.0.0.1"), Advertise: at("127.0.0.1")}, situation{exposed: true}, []string{"public.private"}, "only this machine"},
		"a provider's own NAT":            {auto, turnsrv.Family{Bind: at("100.64.1.1"), Advertise: at("100.64.1.1")}, situation{exposed: true}, []string{"public.private"}, ""},
		"in Docker":                       {auto, docker, situation{exposed: true, container: "Docker"}, []string{"public.container"}, "runs in Docker"},
		"in Docker on the host's network": {auto, lan, situation{exposed: true, container: "Docker"}, []string{"public.private"}, ""},
		"in Docker, told":                 {auto, turnsrv.Family{Bind: at("172.17.0.2"), Advertise: at("5.9.8.7")}, situation{exposed: true, container: "Docker"}, []string{"public.nat"}, "172.17.0.2"},
		"behind NAT":                      {auto, nat, situation{exposed: true, seen: seen{mapped: at("5.9.8.7")}}, []string{"public.nat"}, "relays on 192.168.1.5 are told to clients as 5.9.8.7"},
		"set wrongly": {config.Public{Host: "auto", IPv4: "5.9.8.6"}, outside, situation{exposed: true, seen: seen{mapped: at("5.9.8.1")}},
			[]string{"public.differs"}, "see this machine at 5.9.8.1"},
		"several": {auto, outside, situation{seen: seen{mapped: at("5.9.8.7"), others: []netip.Addr{at("5.9.8.1")}}}, []string{"public.many"}, "[5.9.8.1]"},
		"silent":  {auto, outside, situation{seen: seen{silent: []string{"stun:a"}, because: "no answer"}}, []string{"public.stun"}, "stun:a of public.stun: no answer"},
		"host that is not there": {config.Public{Host: "t.example"}, outside, situation{errHost: errors.New("no such host")}, []string{"public.host"},
			"public.host t.example cannot be resolved (no such host)"},
		"host elsewhere": {config.Public{Host: "t.example"}, outside, situation{host: []netip.Addr{at("5.9.8.1")}}, []string{"public.host"},
			"t.example is at [5.9.8.1], and this server is at 5.9.8.7"},
		"address elsewhere": {config.Public{Host: "5.9.8.1"}, outside, situation{host: []netip.Addr{at("5.9.8.1")}}, []string{"public.host"}, "public.host is 5.9.8.1"},
		"host here":         {config.Public{Host: "t.example"}, nat, situation{host: []netip.Addr{at("2001:db8::1"), at("5.9.8.7")}}, nil, ""},
		"host inside":       {config.Public{Host: "t.example"}, nat, situation{host: []netip.Addr{at("192.168.1.5")}}, nil, ""},
	} {
		if c.s.local == nil {
			c.s.local = func(a netip.Addr) bool { return a == c.ipv4.Bind }
		}
		got := publicFindings(&config.Config{Public: c.cfg}, &public{ipv4: c.ipv4}, c.s)
		if !slices.Equal(ids(got), c.want) || len(got) > 0 && !strings.Contains(got[0].Detail, c.says) {
			t.Errorf("%s: %+v, want %v: %s", name, got, c.want, c.says)
		}
		for _, w := range got {
			if w.Remedy == "" || strings.Contains(w.Detail+w.Remedy, "\n") {
				t.Errorf("%s: %+v", name, w)
			}
		}
	}
}

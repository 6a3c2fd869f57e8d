package turnsrv

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

var two = []DiscoveryIP{{Told: netip.MustParseAddr("127.0.0.1")}, {Told: netip.MustParseAddr("127.0.0.2")}}

// discovering starts a server on all addresses with discovery at two of them, and returns its ports.
func discovering(t *testing.T, edit func(*Config)) (s *testServer, ports [2]uint16) {
	t.Helper()
	s = startServer(t, func(c *Config) {
		c.Listen, c.ListenTLS = []string{"0.0.0.0:0"}, []string{"0.0.0.0:0"}
		c.Settings.Discovery = two
		if edit != nil {
			edit(c)
		}
	})
	for i, at := range []string{s.plain, s.tls} {
		ports[i] = netip.MustParseAddrPort(at).Port()
	}
	return s, ports
}

// told is what a Binding answer says, and where it came from.
type told struct {
	from, mapped, mapped2, origin, other netip.AddrPort
	code, size                           int
	unknown                              []byte
}

// binding asks at a place and hears the answer on another socket, which may be the same.
func binding(t *testing.T, ask, hear *net.UDPConn, at netip.AddrPort, add func(*stunmsg.Builder)) (r told) {
	t.Helper()
	id := turnclient.NewID()
	w := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:])
	if add != nil {
		add(w)
	}
	must(ask.WriteToUDPAddrPort(w.Bytes(), at))(t)
	_ = hear.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 1500)
	n, from, err := hear.ReadFromUDPAddrPort(buf)
	var m stunmsg.Message
	if err != nil || m.Parse(buf[:n]) != nil || [12]byte(m.TransactionID()) != id {
		t.Fatalf("asked at %s: %x, %v", at, buf[:n], err)
	}
	get := func(t uint16) []byte { v, _ := m.Get(t); return v }
	r.from, r.size, r.unknown = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), n, get(stunmsg.AttrUnknownAttributes)
	r.mapped, _ = stunmsg.Addr(get(stunmsg.AttrMappedAddress))
	r.mapped2, _ = stunmsg.XORAddr(get(stunmsg.AttrXORMappedAddress), id[:])
	r.origin, _ = stunmsg.Addr(get(stunmsg.AttrResponseOrigin))
	r.other, _ = stunmsg.Addr(get(stunmsg.AttrOtherAddress))
	if v := get(stunmsg.AttrErrorCode); len(v) == 4 {
		r.code = int(v[2])*100 + int(v[3])
	}
	return r
}

func changed(flags byte) func(*stunmsg.Builder) {
	return func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrChangeRequest, []byte{0, 0, 0, flags}) }
}

// RFC 5780 §6.1, table 1: asked at each of the four, with each of the flags. Every answer fits the bound that is promised.
func TestDiscoveryAnswersFromElsewhere(t *testing.T) {
	for name, single := range map[string]bool{"wildcards": false, "listeners of their own": true} {
		t.Run(name, func(t *testing.T) {
			_, ports := discovering(t, func(c *Config) {
				if !single {
					return
				}
				free, ports := discovering(t, nil)
				if err := free.stop(); err != nil {
					t.Error(err)
				}
				c.Listen, c.ListenTLS = nil, nil
				for _, ip := range two {
					c.Listen = append(c.Listen, fmt.Sprintf("%s:%d", ip.Told, ports[0]))
					c.ListenTLS = append(c.ListenTLS, fmt.Sprintf("%s:%d", ip.Told, ports[1]))
				}
			})
			c, self := listenUDP(t, "127.0.0.1:0")
			for i, flags := range []byte{0, stunmsg.ChangeIP, stunmsg.ChangePort, stunmsg.ChangeIP | stunmsg.ChangePort} {
				for n := range 4 {
					place := func(n int) netip.AddrPort { return netip.AddrPortFrom(two[n>>1].Told, ports[n&1]) }
					from := n
					if flags&stunmsg.ChangeIP != 0 {
						from ^= 2
					}
					if flags&stunmsg.ChangePort != 0 {
						from ^= 1
					}
					got := binding(t, c, c, place(n), changed(flags))
					want := told{from: place(from), mapped: self, mapped2: self, origin: place(from), other: place(n ^ 3), size: 68}
					if fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("flags %d at %s:\n got %v\nwant %v", i, place(n), got, want)
					}
				}
			}
			if got := binding(t, c, c, netip.AddrPortFrom(two[1].Told, ports[0]), nil); got.size != 68 || got.other.Addr() != two[0].Told {
				t.Errorf("without attributes: %v", got)
			}
		})
	}
}

// An answer goes to another port of who asked, and nowhere else.
func TestDiscoveryAnswersElsewhere(t *testing.T) {
	s, ports := discovering(t, nil)
	at := netip.AddrPortFrom(two[0].Told, ports[0])
	ask, self := listenUDP(t, "127.0.0.1:0")
	hear, there := listenUDP(t, "127.0.0.1:0")
	value := []byte{byte(there.Port() >> 8), byte(there.Port())}
	for _, v := range [][]byte{value, append(slices.Clone(value), 0, 0)} { // both ways to count the padding
		got := binding(t, ask, hear, at, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrResponsePort, v) })
		if got.from != at || got.mapped2 != self || got.origin != at {
			t.Errorf("%x: %v", v, got)
		}
	}
	got := binding(t, ask, hear, at, func(w *stunmsg.Builder) { changed(6)(w); w.Attr(stunmsg.AttrResponsePort, value) })
	if want := netip.AddrPortFrom(two[1].Told, ports[1]); got.from != want || got.mapped2 != self || got.origin != want {
		t.Errorf("from elsewhere too: %v", got)
	}
	for name, c := range map[string]struct {
		attr  uint16
		value []byte
		code  int
	}{
		"port 0":                    {stunmsg.AttrResponsePort, []byte{0, 0}, 400},
		"a short port":              {stunmsg.AttrResponsePort, value[:1], 400},
		"a long port":               {stunmsg.AttrResponsePort, append(slices.Clone(value), 0, 0, 0), 400},
		"no port":                   {stunmsg.AttrResponsePort, nil, 400},
		"flags of three bytes":      {stunmsg.AttrChangeRequest, []byte{0, 0, 6}, 400},
		"no flags":                  {stunmsg.AttrChangeRequest, nil, 400},
		"flags and something":       {stunmsg.AttrChangeRequest, []byte{0, 0, 0, 6, 0}, 400},
		"PADDING, which amplifies":  {stunmsg.AttrPadding, make([]byte, 1200), 420},
		"something of another kind": {0x7ffe, nil, 420},
	} {
		got := binding(t, ask, ask, at, func(w *stunmsg.Builder) { w.Attr(c.attr, c.value) })
		if got.code != c.code || got.from != at || got.other.IsValid() || got.size > 36 {
			t.Errorf("%s: %v, want %d", name, got, c.code)
		}
	}
	got = binding(t, ask, ask, at, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrPadding, make([]byte, 4)).Attr(stunmsg.AttrResponsePort, value)
	})
	if got.code != 420 || string(got.unknown) != "\x00\x26" {
		t.Errorf("PADDING with RESPONSE-PORT: %v", got)
	}
	heardNothing(t, hear)
	s.alive(t)
}

// Where it is not offered, CHANGE-REQUEST and RESPONSE-PORT are unknown, and a plain Binding has its small answer.
func TestDiscoveryIsOfferedNowhereElse(t *testing.T) {
	s, ports := discovering(t, nil)
	plain := startServer(t, nil)
	c, _ := listenUDP(t, "127.0.0.1:0")
	third := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), ports[0])
	for name, at := range map[string]netip.AddrPort{"another server": netip.MustParseAddrPort(plain.plain), "a third address": third} {
		for _, attr := range []uint16{stunmsg.AttrChangeRequest, stunmsg.AttrResponsePort} {
			got := binding(t, c, c, at, func(w *stunmsg.Builder) { w.Attr(attr, []byte{0, 0, 0, 6}) })
			if got.code != 420 || got.from != at || string(got.unknown) != string([]byte{0, byte(attr)}) {
				t.Errorf("%s: %v", name, got)
			}
		}
		if got := binding(t, c, c, at, nil); got.size != 32 || got.other.IsValid() || got.mapped.IsValid() {
			t.Errorf("%s: a plain one has %v", name, got)
		}
	}
	for _, transport := range []string{"tcp", "tls", "dtls"} {
		id := turnclient.NewID()
		c := s.client(t, transport, fmt.Sprintf("127.0.0.1:%d", ports[0]), "n")
		w := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:])
		changed(6)(w)
		if m, code := answer(t, c, w.Bytes()); code != 420 {
			t.Errorf("%s: CHANGE-REQUEST has %x", transport, m.Raw)
		}
		id = turnclient.NewID()
		if m, code := answer(t, c, stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes()); code != 0 || len(m.Raw) != 32 {
			t.Errorf("%s: a plain one has %x", transport, m.Raw)
		}
	}
	id := turnclient.NewID()
	w := stunmsg.Begin(nil, stunmsg.AllocateRequest, id[:])
	changed(6)(w)
	udp := s.client(t, "udp", fmt.Sprintf("127.0.0.1:%d", ports[0]), "n")
	if _, code := answer(t, udp, w.Bytes()); code != 401 {
		t.Errorf("Allocate with CHANGE-REQUEST: %d", code)
	}
	_, err := udp.Do(within(t), stunmsg.AllocateRequest, func(w *stunmsg.Builder) { udpRelay(w); changed(6)(w) })
	wantCode(t, "Allocate with CHANGE-REQUEST", err, 420)
}

// Whoever sends from somebody's address gets him few answers at ports that he has not asked from; what he asks himself is
// answered all the while.
func TestDiscoveryIsNoReflector(t *testing.T) {
	now := time.Now()
	s, ports := discovering(t, func(c *Config) {
		c.Now = func() time.Time { return now } // one second, however long the test takes
		c.Settings.UnauthenticatedPerSecond = 5000
	})
	at := netip.AddrPortFrom(two[0].Told, ports[0])
	ask, _ := listenUDP(t, "127.0.0.1:0")
	victim, there := listenUDP(t, "127.0.0.1:0")
	const all = 500
	for i := range all {
		id := turnclient.NewID()
		w := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:])
		if i%2 == 0 {
			w.Attr(stunmsg.AttrResponsePort, []byte{byte(there.Port() >> 8), byte(there.Port())})
		} else {
			changed(stunmsg.ChangeIP)(w)
		}
		must(ask.WriteToUDPAddrPort(w.Bytes(), at))(t)
	}
	for end := time.Now().Add(20 * time.Second); s.Stats().Bindings+s.Stats().Aside < all; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v of %d requests are done", s.Stats(), all)
		}
	}
	heard := 0
	_ = victim.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	for buf := make([]byte, 1500); ; heard++ {
		if _, _, err := victim.ReadFromUDPAddrPort(buf); err != nil {
			break
		}
	}
	if heard == 0 || heard > 20 || s.Stats().Aside != all-20 {
		t.Errorf("%d answers came to who did not ask, %d were kept back", heard, s.Stats().Aside)
	}
	other, _ := listenUDP(t, "127.0.0.1:0")
	if got := binding(t, other, other, at, nil); got.size != 68 {
		t.Errorf("a plain one has %v", got)
	}
}

// What clients are told are the addresses and ports outside; without them, a NAT in front turns it off, with a reason.
func TestDiscoveryBehindNAT(t *testing.T) {
	outside := []DiscoveryIP{
		{Told: netip.MustParseAddr("192.0.2.1"), Local: two[0].Told}, {Told: netip.MustParseAddr("192.0.2.2"), Local: two[1].Told},
	}
	var settings Settings
	s, ports := discovering(t, func(c *Config) { settings = c.Settings })
	c, _ := listenUDP(t, "127.0.0.1:0")
	at := netip.AddrPortFrom(two[0].Told, ports[0])
	apply := func(set Settings) {
		t.Helper()
		must(s.Prepare(set))(t).Apply()
	}
	move := func(advertise string) {
		t.Helper()
		f := Family{Bind: two[0].Told, Advertise: netip.MustParseAddr(advertise)}
		must(s.PrepareMove(f, Family{}))(t).Apply()
	}
	move("192.0.2.1")
	if got := binding(t, c, c, at, nil); got.size != 32 || !strings.Contains(s.DiscoveryOff(), "192.0.2.1") {
		t.Errorf("a NAT has come: %v, %q", got, s.DiscoveryOff())
	}
	settings.Discovery, settings.OuterPorts = outside, map[uint16]uint16{ports[1]: 15349}
	apply(settings)
	got := binding(t, c, c, at, changed(2))
	if got.origin.String() != "192.0.2.1:15349" || got.other.String() != "192.0.2.2:15349" || got.from != netip.AddrPortFrom(two[0].Told, ports[1]) || s.DiscoveryOff() != "" {
		t.Errorf("with the addresses outside: %v, %q", got, s.DiscoveryOff())
	}
	settings.Discovery, settings.OuterPorts = two, nil
	apply(settings)
	move("127.0.0.1")
	if got := binding(t, c, c, at, changed(4)); got.from.Addr() != two[1].Told || s.DiscoveryOff() != "" {
		t.Errorf("the NAT is gone: %v, %q", got, s.DiscoveryOff())
	}
	settings.Discovery = nil
	apply(settings)
	if got := binding(t, c, c, at, nil); got.size != 32 {
		t.Errorf("turned off: %v", got)
	}
}

func TestDiscoveryWants(t *testing.T) {
	var settings Settings
	s := startServer(t, func(c *Config) {
		c.ListenTLS, settings = []string{"0.0.0.0:0"}, c.Settings
	})
	for want, ips := range map[string][]string{
		"must have two addresses":      {"127.0.0.1"},
		"two addresses of a family":    {"127.0.0.1", "127.0.0.2", "127.0.0.3"},
		"have two addresses of a":      {"127.0.0.1", "::1"},
		"same two UDP ports":           {"127.0.0.1", "127.0.0.2"}, // the wildcard's port alone
		"192.0.2.7 is no address of":   {"192.0.2.7", "127.0.0.2"},
		"two addresses of":             {"127.0.0.1", "127.0.0.1"},
		"2001:db8::7 is no address of": {"::1", "2001:db8::7"},
	} {
		settings.Discovery = nil
		for _, ip := range ips {
			settings.Discovery = append(settings.Discovery, DiscoveryIP{Told: netip.MustParseAddr(ip)})
		}
		if _, err := s.Prepare(settings); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "turn.nat_discovery") {
			t.Errorf("%s: %v", ips, err)
		}
	}
	none := startServer(t, func(c *Config) { c.Transports = []string{"tcp", "dtls"} })
	settings.Discovery = two
	if _, err := none.Prepare(settings); err == nil || !strings.Contains(err.Error(), "needs plain UDP") {
		t.Errorf("without UDP: %v", err)
	}
}

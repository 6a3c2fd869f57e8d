package turnsrv

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Case 24: each error code where it is due, on every transport, signed where the client is authenticated.
func TestCase24ErrorCodes(t *testing.T) {
	s := startServer(t, func(c *Config) {
		c.IPv6 = Family{}
		c.Settings.AllocationsPerNode, c.Settings.Allocations = 1, 2
	})
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			ask := func(c *turnclient.Client, typ stunmsg.Type, want int, add func(*stunmsg.Builder)) *stunmsg.Message {
				t.Helper()
				m, err := c.Do(within(t), typ, add)
				wantCode(t, typ.String(), err, want)
				if m != nil && !m.HasIntegrity() {
					t.Errorf("%s: %d is not signed", typ, want)
				}
				return m
			}
			attr := func(at uint16, v ...byte) func(*stunmsg.Builder) {
				return func(w *stunmsg.Builder) { udpRelay(w); w.Attr(at, v) }
			}
			c := s.client(t, transport, s.plain, "one")
			ask(c, stunmsg.AllocateRequest, 400, nil)
			ask(c, stunmsg.AllocateRequest, 400, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17}) })
			ask(c, stunmsg.AllocateRequest, 400, attr(stunmsg.AttrLifetime, 1))
			ask(c, stunmsg.AllocateRequest, 440, attr(stunmsg.AttrRequestedAddressFamily, stunmsg.FamilyIPv6, 0, 0, 0))
			ask(c, stunmsg.AllocateRequest, 440, attr(stunmsg.AttrRequestedAddressFamily, 9, 0, 0, 0))
			for _, unknown := range []uint16{0x0001 | 0x7f00, 0x001b, 0x7fff} {
				m := ask(c, stunmsg.AllocateRequest, 420, attr(unknown))
				if v, _ := m.Get(stunmsg.AttrUnknownAttributes); !slices.Equal(v, []byte{byte(unknown >> 8), byte(unknown)}) {
					t.Errorf("UNKNOWN-ATTRIBUTES for %04x: %x", unknown, v)
				}
			}
			for _, typ := range []stunmsg.Type{stunmsg.RefreshRequest, stunmsg.CreatePermissionRequest, stunmsg.ChannelBindRequest} {
				ask(c, typ, 437, nil)
			}
			must(c.Allocate(within(t), nil))(t)
			ask(c, stunmsg.AllocateRequest, 437, udpRelay)
			ask(c, stunmsg.RefreshRequest, 443, attr(stunmsg.AttrRequestedAddressFamily, stunmsg.FamilyIPv6, 0, 0, 0))
			ask(c, stunmsg.CreatePermissionRequest, 443, func(w *stunmsg.Builder) {
				w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("[2600::1]:9"))
			})
			ask(c, stunmsg.CreatePermissionRequest, 403, func(w *stunmsg.Builder) {
				w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("10.0.0.1:9"))
			})
			ask(s.client(t, transport, s.plain, "one"), stunmsg.AllocateRequest, 486, udpRelay)
			other := s.client(t, transport, s.plain, "two")
			must(other.Allocate(within(t), nil))(t)
			ask(s.client(t, transport, s.plain, "three"), stunmsg.AllocateRequest, 508, udpRelay)
			must(other.Refresh(within(t), 0))(t)
			must(c.Refresh(within(t), 0))(t)
		})
	}
	s.alive(t)
}

// Case 25: answers to strangers are small, and nothing is said to what is no request.
func TestCase25AnswersAreSmall(t *testing.T) {
	s := startServer(t, nil)
	for _, transport := range transports {
		c := s.client(t, transport, s.plain, "n")
		id := turnclient.NewID()
		raw := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes()
		m, code := answer(t, c, raw)
		if _, software := m.Get(stunmsg.AttrSoftware); code != 0 || software || 10*len(m.Raw) > 16*len(raw) {
			t.Errorf("%s: a Binding of %d bytes is answered with %d: %x", transport, len(raw), len(m.Raw), m.Raw)
		}
		for _, typ := range []stunmsg.Type{
			stunmsg.AllocateRequest, stunmsg.RefreshRequest, stunmsg.CreatePermissionRequest, stunmsg.ChannelBindRequest, stunmsg.ConnectRequest,
		} {
			id := turnclient.NewID()
			m, code := answer(t, c, stunmsg.Begin(nil, typ, id[:]).Fingerprint().Bytes())
			_, software := m.Get(stunmsg.AttrSoftware)
			reason, _ := m.Get(stunmsg.AttrErrorCode)
			if code != 401 || len(m.Raw) > 68 || software || len(reason) != 4 || !m.HasFingerprint() || !m.CheckFingerprint() {
				t.Errorf("%s: %s is answered with %d in %d bytes: %x", transport, typ, code, len(m.Raw), m.Raw)
			}
		}
		for what, raw := range noRequests(t) {
			if transport == "tcp" || transport == "tls" {
				continue // one frame of this kind may close a stream: see case 1
			}
			if _, err := c.Conn().Write(raw); err != nil {
				t.Fatalf("%s: %s: %v", transport, what, err)
			}
		}
	}
	// Over plain UDP every answer can be seen.
	sock, _ := listenUDP(t, "127.0.0.1:0")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.plain))
	for what, raw := range noRequests(t) {
		must(sock.WriteToUDP(raw, to))(t)
		id := turnclient.NewID()
		probe := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes()
		must(sock.WriteToUDP(probe, to))(t)
		buf := make([]byte, 2000)
		_ = sock.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, _, err := sock.ReadFromUDPAddrPort(buf)
		if err != nil || n < 20 || [12]byte(buf[8:20]) != id {
			t.Errorf("%s is answered with %x, %v", what, buf[:n], err)
		}
	}
	s.alive(t)
}

// noRequests are datagrams that must not be answered.
func noRequests(t *testing.T) map[string][]byte {
	id := turnclient.NewID()
	begin := func(typ stunmsg.Type) *stunmsg.Builder { return stunmsg.Begin(nil, typ, id[:]) }
	wrong := begin(stunmsg.BindingRequest).Fingerprint().Bytes()
	wrong[len(wrong)-1] ^= 1
	all := map[string][]byte{
		"an empty datagram": {}, "one byte": {0}, "text": []byte("GET / HTTP/1.1\r\n\r\n"), "zeros": make([]byte, 100),
		"a cookie of RFC 3489":     append([]byte{0, 1, 0, 0}, make([]byte, 16)...),
		"a length beyond":          append([]byte{0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42}, id[:]...),
		"a length behind":          append(begin(stunmsg.BindingRequest).Bytes(), 0, 0, 0, 0),
		"an odd length":            append([]byte{0, 1, 0, 1, 0x21, 0x12, 0xa4, 0x42}, append(id[:], 0)...),
		"an attribute beyond":      append([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42}, append(id[:], 0x80, 0x22, 0xff, 0xff)...),
		"a wrong fingerprint":      wrong,
		"a Binding indication":     begin(stunmsg.BindingIndication).Bytes(),
		"a Send indication":        begin(stunmsg.SendIndication).XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("127.0.0.1:9")).Attr(stunmsg.AttrData, []byte("x")).Bytes(),
		"an empty Send":            begin(stunmsg.SendIndication).Bytes(),
		"an empty peer":            begin(stunmsg.SendIndication).Attr(stunmsg.AttrXORPeerAddress, nil).Attr(stunmsg.AttrData, nil).Bytes(),
		"a Data indication":        begin(stunmsg.DataIndication).Bytes(),
		"ChannelData":              {0x40, 0, 0, 1, 'x'},
		"a method nobody knows":    begin(0x0fff &^ 0x0110).Bytes(),
		"Allocate as indication":   begin(0x0013).Bytes(),
		"a DTLS alert":             {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40},
		"DTLS application data":    {23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4},
		"RTP":                      append([]byte{0x80, 96, 0, 1}, make([]byte, 60)...),
		"a reserved channel":       {0x50, 0, 0, 1, 'x'},
		"a success of an Allocate": begin(stunmsg.AllocateRequest.Success()).Bytes(),
	}
	for _, typ := range []stunmsg.Type{stunmsg.BindingRequest, stunmsg.AllocateRequest, stunmsg.RefreshRequest} {
		all[typ.String()+" error response"] = begin(typ.Error()).ErrorCode(401).Bytes()
		all[typ.String()+" success response"] = begin(typ.Success()).Bytes()
	}
	return all
}

// Case 26: one source gets the configured number of answers a second, whatever it asks; others and those who have
// proved who they are do not notice.
func TestCase26UnauthenticatedRate(t *testing.T) {
	const limit = 20
	s := startServer(t, func(c *Config) { c.Settings.UnauthenticatedPerSecond = limit })
	// The honest client shares the flood's address.
	honest, _ := s.allocated(t, "udp", "honest")
	sock, peer := listenUDP(t, "127.0.0.1:0")
	if err := honest.Bind(within(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	flood, _ := listenUDP(t, "127.0.0.1:0")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.plain))
	var answers atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2000)
		for {
			if _, _, err := flood.ReadFromUDPAddrPort(buf); err != nil {
				return
			}
			answers.Add(1)
		}
	}()
	begun := time.Now()
	for i := range 1000 {
		id := turnclient.NewID()
		typ := []stunmsg.Type{stunmsg.BindingRequest, stunmsg.AllocateRequest, stunmsg.RefreshRequest}[i%3]
		w := stunmsg.Begin(nil, typ, id[:])
		if i%2 == 0 {
			w.String(stunmsg.AttrUsername, fmt.Sprint(i, ":n")).String(stunmsg.AttrRealm, "crolang").String(stunmsg.AttrNonce, "AAAAAAAAAAAAAAAA").Integrity([]byte("x"))
		}
		must(flood.WriteToUDP(w.Bytes(), to))(t)
		if i%100 == 0 {
			must(honest.Refresh(within(t), time.Minute))(t)
			echoes(t, honest, 0x4000, sock, "honest")
		}
	}
	windows := int64(time.Since(begun)/time.Second) + 1
	eventually(t, "all have been handled", func() bool {
		st := s.Stats()
		return answers.Load()+int64(st.Limited) >= 900 // the kernel may have dropped a few
	})
	windows = max(windows, int64(time.Since(begun)/time.Second)+1)
	if n := answers.Load(); n > limit*windows || n == 0 {
		t.Errorf("%d answers in %d s", n, windows)
	}
	other := must(turnclient.Dial(within(t), turnclient.Options{Transport: "udp", Addr: s.plain, Local: "127.0.0.2:0"}))(t)
	defer other.Close()
	if _, err := other.Binding(within(t)); err != nil {
		t.Errorf("another source: %v", err)
	}
	must(honest.Refresh(within(t), 0))(t)
	_ = flood.Close()
	<-ended
}

// Case 27: of N+1 allocations of a Node at once over several transports exactly N are made; a slot comes back when one ends.
func TestCase27QuotaOverTransports(t *testing.T) {
	const n, tries = 8, 24
	s := startServer(t, func(c *Config) { c.Settings = Settings{Settings: control.Settings{AllocationsPerNode: n}} })
	clients := make([]*turnclient.Client, tries)
	for i := range clients {
		clients[i] = s.client(t, transports[i%len(transports)], s.plain, "n")
	}
	codes := make([]int, tries)
	ready := make(chan struct{})
	done := make(chan struct{})
	for i, c := range clients {
		go func() {
			<-ready
			_, err := c.Allocate(t.Context(), nil)
			if codes[i] = turnclient.Code(err); codes[i] == 0 && err != nil {
				codes[i] = -1
			}
			done <- struct{}{}
		}()
	}
	close(ready)
	for range clients {
		<-done
	}
	count := map[int]int{}
	for _, code := range codes {
		count[code]++
	}
	if count[0] != n || count[486] != tries-n || s.Live() != n {
		t.Errorf("answers by code: %v, %d live", count, s.Live())
	}
	// However one ends, its slot is free.
	for i, c := range clients {
		if codes[i] != 0 {
			continue
		}
		if i%2 == 0 || transports[i%len(transports)] == "udp" {
			must(c.Refresh(within(t), 0))(t)
		} else {
			_ = c.Close()
		}
		eventually(t, "the slot is free", func() bool { return s.Live() == n-1 })
		next := s.client(t, transports[(i+1)%len(transports)], s.plain, "n")
		must(next.Allocate(within(t), nil))(t)
		wantCode(t, "one more", allocateCode(t, s), 486)
	}
}

func allocateCode(t *testing.T, s *testServer) error {
	t.Helper()
	c := s.client(t, "udp", s.plain, "n")
	_, err := c.Allocate(within(t), nil)
	_ = c.Close()
	return err
}

// Case 28: 20 ports serve 20 allocations, then 508; a freed port is taken at once, and EVEN-PORT leaks none.
func TestCase28PortsRunOut(t *testing.T) {
	s := startServer(t, func(c *Config) { c.IPv6 = Family{}; c.PortMin, c.PortMax = 14900, 14919 })
	even := func(r byte) func(*stunmsg.Builder) {
		return func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrEvenPort, []byte{r}) }
	}
	fill := func() (all []*turnclient.Client) {
		for i := 0; ; i++ {
			c := s.client(t, transports[i%2], s.plain, "n")
			_, err := c.Allocate(within(t), nil)
			if turnclient.Code(err) == 508 {
				_ = c.Close()
				return all
			}
			if err != nil || len(all) > 20 {
				t.Fatal(err, len(all))
			}
			all = append(all, c)
		}
	}
	all := fill()
	most := len(all)
	if most < 18 { // another program may hold a few
		t.Fatalf("%d of 20 ports were usable", most)
	}
	for _, c := range all[:5] {
		must(c.Refresh(within(t), 0))(t)
		must(c.Allocate(within(t), nil))(t)
		wantCode(t, "one more", allocateCode(t, s), 508)
	}
	for _, c := range all {
		must(c.Refresh(within(t), 0))(t)
	}
	for i := range 200 {
		c := all[i%len(all)]
		a := must(c.Allocate(within(t), even(0)))(t)
		if a.Relayed.Port()%2 != 0 || a.Token != nil {
			t.Fatalf("EVEN-PORT got %+v", a)
		}
		must(c.Refresh(within(t), 0))(t)
	}
	// Reservations outlive their allocations, and no quota counts them: one client must not reserve the range away.
	for i := range 40 {
		c := all[i%len(all)]
		if _, err := c.Allocate(within(t), even(0x80)); err == nil {
			must(c.Refresh(within(t), 0))(t)
		} else {
			wantCode(t, "a reservation too many", err, 508)
		}
	}
	again := fill()
	if len(again) < most-2 {
		t.Errorf("%d ports are left of %d", len(again), most)
	}
	s.alive(t)
}

// Case 29: permissions and channels are bounded by allocation, and what is over the bound is refused, not kept.
func TestCase29PermissionsAndChannels(t *testing.T) {
	s := startServer(t, nil)
	c, _ := s.allocated(t, "tcp", "n")
	code, granted := 0, 0
	for i := 0; i < 10_000 && code == 0; i += 100 {
		var all []netip.AddrPort
		for k := range 100 {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, byte((i + k) >> 8), byte(i + k)}), 9))
		}
		if code = turnclient.Code(c.Permit(within(t), all...)); code == 0 {
			granted += 100
		}
	}
	if code != 508 || granted < 100 {
		t.Errorf("%d permissions, then %d", granted, code)
	}
	if a := s.Allocations()[0]; a.Permissions > 1024 || a.Permissions < granted {
		t.Errorf("%d permissions in force", a.Permissions)
	}
	for number, want := range map[uint16]int{0x0000: 400, 0x3fff: 400, 0x4000: 0, 0x5000: 0, 0x7fff: 0, 0x8000: 400, 0xffff: 400} {
		peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 0, 2}), 1+number)
		wantCode(t, fmt.Sprintf("channel %04x", number), c.Bind(within(t), number, peer), want)
	}
	channels, step := 3, uint16(1)
	if raceEnabled && !long {
		step = 6
	}
	for number := uint16(0x4fff); number > 0x4000; number -= step {
		// Many ports of a few addresses, which have a permission already.
		p := netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 0, byte(number)}), number)
		err := c.Bind(within(t), number, p)
		if err == nil {
			channels++
			continue
		}
		wantCode(t, fmt.Sprintf("channel %04x", number), err, 508)
	}
	if a := s.Allocations()[0]; a.Channels != channels || a.Permissions > 1024 {
		t.Errorf("%d channels of %d, %d permissions", a.Channels, channels, a.Permissions)
	}
	t.Logf("%d permissions and %d channels", granted, channels)
	must(c.Refresh(within(t), 0))(t)
	s.alive(t)
}

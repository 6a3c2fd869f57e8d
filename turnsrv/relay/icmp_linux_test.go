package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

func (e *endpoint) expectICMP(peer netip.AddrPort, want stunmsg.ICMP) {
	e.Helper()
	b, _ := e.next()
	if from, got := icmpOf(e, b); from != peer || got != want {
		e.Fatalf("%+v about %s, want %+v about %s", got, from, want, peer)
	}
}

// closed is a port that nobody listens on.
func closed(t testing.TB, ip netip.Addr) netip.AddrPort {
	t.Helper()
	e := newEndpoint(t, ip)
	_ = e.Close()
	return e.addr
}

// portUnreachable is what ICMP says of a closed port.
func portUnreachable(ip netip.Addr) stunmsg.ICMP {
	if ip.Is4() {
		return stunmsg.ICMP{Type: 3, Code: 3}
	}
	return stunmsg.ICMP{Type: 1, Code: 4}
}

// forger makes up ICMP messages.
type forger struct {
	testing.TB
	fd int
}

func newForger(t testing.TB, ip netip.Addr) *forger {
	t.Helper()
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if ip.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		t.Skipf("ICMP cannot be made up: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return &forger{t, fd}
}

// forged is an ICMP message about a UDP datagram.
func forged(from, to netip.AddrPort, e stunmsg.ICMP) []byte {
	b := binary.BigEndian.AppendUint32([]byte{e.Type, e.Code, 0, 0}, e.MTU)
	if from.Addr().Is4() {
		b = append(b, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0, 0, 8, unix.IPPROTO_UDP, 64)
	}
	b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, from.Port()), to.Port())
	b = append(b, 0, 8, 0, 0)
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	if from.Addr().Is4() { // the kernel does it for IPv6
		binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	}
	return b
}

func (f *forger) forge(from, to netip.AddrPort, e stunmsg.ICMP) {
	f.Helper()
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if from.Addr().Is6() {
		sa = &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}
	}
	if err := unix.Sendto(f.fd, forged(from, to, e), 0, sa); err != nil {
		f.Error(err)
	}
}

// A client is told that nobody listens where it sends, by a channel or by a permission, whether or not it goes on.
func TestICMPReachesClient(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c := w.client(server)
		r := c.open(OpenOptions{})
		first, second := closed(t, server.Addr()), closed(t, server.Addr())
		r.bind(0x4000, first, ScopeAny)
		c.send(channelData(0x4000, []byte("hello")))
		c.expectICMP(first, portUnreachable(server.Addr()))
		r.permit(server.Addr(), ScopeAny)
		for range 3 {
			c.send(sendIndication(second, []byte("hello")))
			c.expectICMP(second, portUnreachable(server.Addr()))
		}
		counted(t, r, func(s Stats) bool { return s.Up.Datagrams == 4 && s.Up.Dropped+s.Down.Dropped == 0 })
	})
}

// Without Config.ICMP nobody is told, and it can be changed for new relays.
func TestICMPOff(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ICMP = false })
	peer := closed(t, loopback4)
	for _, on := range []bool{false, true, false} {
		w.SetICMP(on)
		c := w.client(w.udp4)
		r := c.open(OpenOptions{})
		w.SetICMP(!on)
		r.bind(0x4000, peer, ScopeAny)
		for range 3 {
			c.send(channelData(0x4000, []byte("hello")))
		}
		if on {
			c.expectICMP(peer, portUnreachable(loopback4))
			continue
		}
		counted(t, r, func(s Stats) bool { return s.Up.Datagrams == 3 })
		msg := binding()
		c.send(msg)
		c.silent(msg)
	}
}

func TestICMPReachesStreams(t *testing.T) {
	for _, tr := range []Transport{TCP, TLS} {
		t.Run(tr.String(), func(t *testing.T) {
			w := newWorld(t)
			c := w.streams(tr).client()
			r, err := w.Open(c.src, OpenOptions{Family: 4})
			if err != nil {
				t.Fatal(err)
			}
			peer := closed(t, loopback4)
			r.bind(0x4000, peer, ScopeAny)
			c.put(padded(channelData(0x4000, []byte("hello"))))
			if from, e := icmpOf(t, c.frame()); from != peer || e != portUnreachable(loopback4) {
				t.Errorf("%+v about %s", e, from)
			}
		})
	}
	t.Run("DTLS", func(t *testing.T) {
		w := newWorld(t)
		c, src, _ := messageConn(t, w)
		r, err := w.Open(src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		peer := closed(t, loopback4)
		r.bind(0x4000, peer, ScopeAny)
		c.to(src.Server, channelData(0x4000, []byte("hello")))
		c.expectICMP(peer, portUnreachable(loopback4))
	})
}

// Both relays of a client tell of their own peers.
func TestICMPOfPair(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.udp4)
	r, failed := w.OpenPair(c.src, OpenOptions{})
	if failed != [2]error{} {
		t.Fatal(failed)
	}
	must(r.Permit(Grant{loopback4, ScopeAny}, Grant{loopback6, ScopeAny}))
	for range 2 {
		for _, ip := range []netip.Addr{loopback4, loopback6} {
			peer := closed(t, ip)
			c.send(sendIndication(peer, []byte("hello")))
			c.expectICMP(peer, portUnreachable(ip))
		}
	}
}

// alone gives the test a network namespace of its own, which has a loopback interface with this MTU and nothing else: what
// is said of paths there changes none of the machine's.
func alone(t *testing.T, mtu uint32) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint32(mtu)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, lo); err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// The types that RFC 8656 §11.5 names are passed on, with the MTU where there is one, and no others.
func TestICMPTypes(t *testing.T) {
	alone(t, 2000)
	w := newWorld(t)
	for _, one := range []struct {
		server       netip.AddrPort
		told, untold []stunmsg.ICMP
	}{
		{w.udp4, []stunmsg.ICMP{{Type: 3, Code: 0, MTU: 7}, {Type: 3, Code: 1}, {Type: 3, Code: 13}, {Type: 11, Code: 0}}, []stunmsg.ICMP{{Type: 12, Code: 0}}},
		{w.udp6, []stunmsg.ICMP{{Type: 1, Code: 0, MTU: 7}, {Type: 1, Code: 6}, {Type: 2, Code: 0, MTU: 1280}, {Type: 3, Code: 1}}, []stunmsg.ICMP{{Type: 4, Code: 1}}},
	} {
		ip := one.server.Addr()
		c, peer, f := w.client(one.server), newEndpoint(t, ip), newForger(t, ip)
		r := c.open(OpenOptions{})
		r.permit(ip, ScopeAny)
		for _, e := range one.untold {
			f.forge(r.Addr(), peer.addr, e)
		}
		for _, e := range one.told {
			f.forge(r.Addr(), peer.addr, e)
			if e.MTU == 7 { // no MTU, whatever the message has there
				e.MTU = 0
			}
			c.expectICMP(peer.addr, e)
		}
		counted(t, r, func(s Stats) bool {
			return s.Down.Drops[UntoldICMP] == uint64(len(one.untold)) && s.Down.Dropped == uint64(len(one.untold))
		})
	}
}

// What a Send indication with DONT-FRAGMENT brings about is told with the MTU, though DF is cleared again before the
// answer comes. What this machine itself refuses is no ICMP, and counted once.
func TestICMPOfDontFragment(t *testing.T) {
	alone(t, 2000)
	w := newWorld(t)
	for _, server := range []netip.AddrPort{w.udp4, w.udp6} {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		r.permit(server.Addr(), ScopeAny)
		c.send(sendWithoutFragments(peer.addr, make([]byte, 1400)))
		peer.expect(r.Addr(), make([]byte, 1400))
		small := stunmsg.ICMP{Type: 3, Code: 4, MTU: 1300}
		if server.Addr().Is6() {
			small = stunmsg.ICMP{Type: 2, Code: 0, MTU: 1300}
		}
		newForger(t, server.Addr()).forge(r.Addr(), peer.addr, small)
		c.expectICMP(peer.addr, small)
		for _, n := range []int{1400, 5000} {
			c.send(sendIndication(peer.addr, make([]byte, n)))
			peer.expect(r.Addr(), make([]byte, n))
		}
		for range 3 {
			c.send(sendWithoutFragments(peer.addr, make([]byte, 5000)))
			c.send(sendIndication(peer.addr, []byte("another")))
			peer.expect(r.Addr(), []byte("another"))
		}
		counted(t, r, func(s Stats) bool { return s.Up.Drops[TooLarge]+s.Up.Drops[Unsent] == 3 })
		msg := binding()
		c.send(msg)
		c.silent(msg)
		if s := r.Stats(); s.Up.Dropped != 3 || s.Down.Dropped != 0 {
			t.Errorf("counted %+v", s)
		}
	}
}

// Nobody is told of peers without a permission, whoever says so, nor of those that only relays may reach.
func TestICMPWithoutPermission(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		f := newForger(t, server.Addr())
		r := c.open(OpenOptions{})
		e := portUnreachable(server.Addr())
		n := uint64(0)
		untold := func(about netip.AddrPort) {
			t.Helper()
			n++
			f.forge(r.Addr(), about, e)
			counted(t, r, func(s Stats) bool { return s.Down.Drops[UntoldICMP] == n })
		}
		untold(peer.addr)
		r.permit(server.Addr(), ScopeRelays)
		untold(peer.addr)
		r.revoke(server.Addr())
		r.bind(0x4000, peer.addr, ScopeAny)
		untold(netip.AddrPortFrom(server.Addr(), peer.addr.Port()+1))
		// About another port of this server, it is for nobody.
		f.forge(server, peer.addr, e)
		f.forge(netip.AddrPortFrom(server.Addr(), r.Addr().Port()+1), peer.addr, e)
		f.forge(r.Addr(), peer.addr, e)
		c.expectICMP(peer.addr, e)
		r.unbind(0x4000)
		untold(peer.addr)
		msg := binding()
		c.send(msg)
		c.silent(msg)
		if s := r.Stats(); s.Down.Dropped != n {
			t.Errorf("counted %+v", s)
		}
	})
}

// A client is told of ten messages at once, and of ten a second.
func TestICMPRate(t *testing.T) {
	var passed atomic.Int64
	begin := time.Now()
	w := newWorld(t, func(c *Config) { c.Now = func() time.Time { return begin.Add(time.Duration(passed.Load())) } })
	c := w.client(w.udp4)
	r := c.open(OpenOptions{})
	peer := closed(t, loopback4)
	r.bind(0x4000, peer, ScopeAny)
	untold := uint64(0)
	for _, step := range []struct {
		wait time.Duration
		told int
	}{{0, 10}, {0, 0}, {100 * time.Millisecond, 1}, {350 * time.Millisecond, 3}, {time.Hour, 10}} {
		passed.Add(int64(step.wait))
		const sent = 12
		for i := range sent { // no two of a size, which would leave as one
			c.send(channelData(0x4000, make([]byte, i)))
		}
		for range step.told {
			c.expectICMP(peer, portUnreachable(loopback4))
		}
		untold += uint64(sent - step.told)
		counted(t, r, func(s Stats) bool { return s.Down.Drops[UntoldICMP] == untold })
		msg := binding()
		c.send(msg)
		c.silent(msg)
	}
}

// However often one peer answers with ICMP, the datagrams of others pass, in both directions.
func TestICMPLosesNothingOfOthers(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		gone := closed(t, server.Addr())
		r.bind(0x4000, peer.addr, ScopeAny)
		r.bind(0x4001, gone, ScopeAny)
		r.permit(server.Addr(), ScopeAny)
		const rounds, burst = 40, 25
		for round := range rounds {
			for i := range burst {
				data := []byte{byte(round), byte(i)}
				c.send(channelData(0x4001, data))
				c.send(channelData(0x4000, data))
				c.send(sendIndication(gone, make([]byte, 100)))
				peer.to(r.Addr(), data)
			}
			for i := range burst {
				peer.expect(r.Addr(), []byte{byte(round), byte(i)})
			}
			for i := range burst {
				b, _ := c.next()
				for isICMP(b) {
					b, _ = c.next()
				}
				if want := channelData(0x4000, []byte{byte(round), byte(i)}); !bytes.Equal(b, want) {
					t.Fatalf("got %x, want %x", b, want)
				}
			}
		}
		onlyUntold(t, r, 3*rounds*burst, rounds*burst)
	})
}

// onlyUntold checks that a relay has passed on as much as this, and lost nothing but what was said too often.
func onlyUntold(t *testing.T, r *Relay, up, down uint64) {
	t.Helper()
	counted(t, r, func(s Stats) bool { return s.Up.Datagrams+s.Up.Dropped == up && s.Down.Datagrams == down })
	if s := r.Stats(); s.Up.Dropped != 0 || s.Down.Dropped != s.Down.Drops[UntoldICMP] {
		t.Errorf("dropped: %+v", s)
	}
}

// The same where every datagram is a call of its own, and nobody looks after errors in between.
func TestICMPBetweenCalls(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		gone := closed(t, server.Addr())
		r.permit(server.Addr(), ScopeAny)
		const rounds, burst = 20, 10
		for round := range rounds {
			blocked := make(chan struct{})
			w.control.set(func(Source, []byte) { <-blocked })
			c.send(binding())
			for i := range burst {
				c.send(sendWithoutFragments(gone, []byte("lost")))
				c.send(sendWithoutFragments(peer.addr, []byte{byte(round), byte(i)}))
			}
			close(blocked)
			for i := range burst {
				peer.expect(r.Addr(), []byte{byte(round), byte(i)})
			}
		}
		onlyUntold(t, r, 2*rounds*burst, 0)
	})
}

// The same from clients on streams, whose goroutines send while a worker looks after the errors.
func TestICMPLosesNothingOfStreams(t *testing.T) {
	for _, tr := range []Transport{TCP, TLS} {
		t.Run(tr.String(), func(t *testing.T) {
			w := newWorld(t)
			c, peer := w.streams(tr).client(), newEndpoint(t, loopback4)
			r, err := w.Open(c.src, OpenOptions{Family: 4})
			if err != nil {
				t.Fatal(err)
			}
			r.bind(0x4000, peer.addr, ScopeAny)
			r.bind(0x4001, closed(t, loopback4), ScopeAny)
			const count = 500
			for i := range count {
				data := []byte{byte(i >> 8), byte(i)}
				c.put(padded(channelData(0x4001, data)))
				c.put(padded(channelData(0x4000, data)))
				if i%20 == 19 {
					for k := i - 19; k <= i; k++ {
						peer.expect(r.Addr(), []byte{byte(k >> 8), byte(k)})
					}
				}
			}
			onlyUntold(t, r, 2*count, 0)
		})
	}
}

// A flood of ICMP for one relay, also for a peer of its own, holds up neither its datagrams nor those of others.
func TestICMPFlood(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Workers = 1 })
	f := newForger(t, loopback4)
	type pair struct {
		c    *client
		peer *endpoint
		r    *Relay
	}
	var all [2]pair
	for i := range all {
		c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
		r := c.open(OpenOptions{})
		r.bind(0x4000, peer.addr, ScopeAny)
		all[i] = pair{c, peer, r}
	}
	under := all[0]
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() {
			f.forge(under.r.Addr(), under.peer.addr, portUnreachable(loopback4))
		}
	}()
	// The flood may fill the socket's buffer, which the kernel counts datagrams and errors in: then the network loses
	// some, and they are sent again.
	reach := func(send func(), e *endpoint, want []byte) {
		t.Helper()
		buf := make([]byte, 2048)
		for end := time.Now().Add(2 * patience); ; {
			send()
			_ = e.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			for {
				n, _, err := e.ReadFromUDPAddrPort(buf)
				if err != nil {
					break
				}
				if bytes.Equal(buf[:n], want) {
					return
				}
			}
			if time.Now().After(end) {
				t.Fatal("nothing gets through")
			}
		}
	}
	for i := range 200 {
		for _, p := range all {
			data := []byte{byte(i), 1}
			reach(func() { p.c.send(channelData(0x4000, data)) }, p.peer, data)
			reach(func() { p.peer.to(p.r.Addr(), data) }, p.c.endpoint, channelData(0x4000, data))
		}
	}
	stop.Store(true)
	<-ended
	within(t, "all ICMP is looked after", func() bool {
		s := under.r.Stats()
		time.Sleep(50 * time.Millisecond)
		return s.Down.Drops[UntoldICMP] > 0 && under.r.Stats().Down.Drops[UntoldICMP] == s.Down.Drops[UntoldICMP]
	})
	// A send that as many messages as it has tries come in between is lost, and counted: nothing else may be, and of the
	// other relay nothing at all.
	if s := under.r.Stats(); s.Up.Dropped != s.Up.Drops[Unsent] || s.Down.Dropped != s.Down.Drops[UntoldICMP] {
		t.Errorf("of the relay under flood dropped: %+v", s)
	}
	if s := all[1].r.Stats(); s.Up.Dropped+s.Down.Dropped != 0 {
		t.Errorf("of the other relay dropped: %+v", s)
	}
}

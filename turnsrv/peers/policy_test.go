package peers

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func fixed(list ...Interface) func() ([]Interface, error) {
	return func() ([]Interface, error) { return list, nil }
}

var machine = fixed(
	Interface{netip.MustParsePrefix("127.0.0.1/8"), true},
	Interface{netip.MustParsePrefix("::1/128"), true},
	Interface{netip.MustParsePrefix("5.9.8.7/24"), false},
	Interface{netip.MustParsePrefix("5.9.9.1/31"), false},
	Interface{netip.MustParsePrefix("2a01:4f8:1:2::7/64"), false},
)

func policy(t testing.TB, cfg Config) *Policy {
	t.Helper()
	if cfg.Interfaces == nil {
		cfg.Interfaces = machine
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// inEveryForm are the ways to write v4 as an IPv6 address.
func inEveryForm(v4 netip.Addr) map[string]netip.Addr {
	a := v4.As4()
	put := func(base string, at int, turn byte) netip.Addr {
		b := netip.MustParseAddr(base).As16()
		for i := range a {
			b[at+i] = a[i] ^ turn
		}
		return netip.AddrFrom16(b)
	}
	split := func(base string, at [4]int) netip.Addr {
		b := netip.MustParseAddr(base).As16()
		for i := range a {
			b[at[i]] = a[i]
		}
		return netip.AddrFrom16(b)
	}
	return map[string]netip.Addr{
		"mapped":                     put("::ffff:0:0", 12, 0),
		"compatible":                 put("::", 12, 0),
		"translated":                 put("::ffff:0:0:0", 12, 0),
		"NAT64":                      put("64:ff9b::", 12, 0),
		"local NAT64 /48":            split("64:ff9b:1::", [4]int{6, 7, 9, 10}),
		"local NAT64 /56":            split("64:ff9b:1:ab00::", [4]int{7, 9, 10, 11}),
		"local NAT64 /64":            split("64:ff9b:1:abcd::", [4]int{9, 10, 11, 12}),
		"local NAT64 /96":            put("64:ff9b:1:abcd::", 12, 0),
		"6to4":                       put("2002::1", 2, 0),
		"Teredo client":              put("2001:0:808:808::", 12, 0xff),
		"Teredo server":              put("2001::f7f7:f7f7", 4, 0),
		"ISATAP":                     put("2a02:1:2:3:0:5efe::", 12, 0),
		"ISATAP of a unique address": put("2a02:1:2:3:200:5efe::", 12, 0),
		"Teredo that ends as ISATAP": put("2001:0:808:808:0:5efe::", 12, 0),
	}
}

// TestRecommended has SECURITY cases 9 to 13: each address, and each IPv4 one in each of its IPv6 forms.
func TestRecommended(t *testing.T) {
	p := policy(t, Config{Deny: []string{Recommended}, Public: []netip.Addr{netip.MustParseAddr("9.9.9.1")}})
	denied := map[string]string{
		"127.0.0.1": "address of this machine", "127.255.255.254": "address of this machine", "127.0.0.0": "address of this machine",
		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified",
		"10.0.0.0": "private", "10.255.255.255": "private", "172.16.0.1": "private", "172.31.255.255": "private",
		"192.168.0.1": "private", "192.168.255.255": "private",
		"100.64.0.1": "shared", "100.127.255.255": "shared", "100.100.100.200": "metadata",
		"169.254.0.1": "link-local", "169.254.169.254": "metadata", "169.254.170.2": "metadata", "168.63.129.16": "metadata",
		"192.0.0.1": "protocol", "192.0.0.192": "metadata", "192.0.2.1": "documentation", "198.51.100.9": "documentation",
		"203.0.113.254": "documentation", "192.88.99.1": "6to4", "198.18.0.1": "benchmarking", "198.19.255.255": "benchmarking",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "240.0.0.1": "reserved", "255.255.255.254": "reserved",
		"255.255.255.255": "broadcast",
		"5.9.8.7":         "address of this machine", "5.9.8.255": "broadcast address of an interface", "5.9.8.0": "broadcast address of an interface",
		"5.9.9.1": "address of this machine", "9.9.9.1": "address of this machine",
	}
	for s, want := range denied {
		v4 := netip.MustParseAddr(s)
		if v := p.Check(v4); v.Allowed || !strings.Contains(v.Cause, want) {
			t.Errorf("%s: %+v, want %q", s, v, want)
		}
		for form, ip := range inEveryForm(v4) {
			if v := p.Check(ip); v.Allowed || v.Cause == "" {
				t.Errorf("%s as %s, %s: %+v", s, form, ip, v)
			}
		}
	}
	denied6 := map[string]string{
		"::": "unspecified", "::1": "address of this machine", "::2": "unspecified", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"febf::1": "link-local", "fec0::1": "site-local", "feff::1": "site-local", "fc00::1": "unique local", "fdff::1": "unique local",
		"fd00:ec2::254": "metadata", "fd20:ce::254": "metadata", "ff02::1": "multicast", "ff0e::1": "multicast",
		"100::1": "discard", "100:0:0:1::1": "dummy", "2001:2::1": "benchmarking", "2001:db8::1": "documentation",
		"3fff:0fff::1": "documentation", "2001:10::1": "ORCHID", "2001:2f:ffff::1": "ORCHID", "2001:3f::1": "drone",
		"5f00::1": "SRv6", "2001:1::1": "protocol", "64:ff9b:1::808:808": "NAT64", "64:ff9b:1:ffff::808:808": "NAT64",
		"200::1": "reserved", "4000::1": "reserved", "1fff::1": "reserved", "64:ff9b:2::1": "reserved", "::1:0:0:0:808:808": "reserved",
		"2a01:4f8:1:2::7": "address of this machine", "2a01:4f8:1:2::": "router address",
		"64:ff9b::7f00:1": "NAT64 address of a denied one: address of this machine",
		"2002:a00:1::1":   "6to4 address of a denied one: private address (10.0.0.0/8), see turn.peers.allow",
	}
	for s, want := range denied6 {
		if v := p.Check(netip.MustParseAddr(s)); v.Allowed || !strings.Contains(v.Cause, want) {
			t.Errorf("%s: %+v, want %q", s, v, want)
		}
	}
	for _, s := range []string{
		"8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1", "172.15.255.255",
		"172.32.0.0", "169.253.255.255", "169.255.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
		"223.255.255.255", "5.9.8.8", "5.9.9.0", "1.1.1.1", "168.63.129.15",
		"2a01:4f8:1:2::8", "2001:4860:4860::8888", "2606:4700::1111", "2001:200::1", "3ffe:ffff::1", "2003::1", "2400::1",
		"::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001:0:808:808:0:0:f7f7:f7f7", "2a02:1:2:3:0:5efe:808:808",
		"2a02:1:2:3:1:5efe:a00:1",
	} {
		if v := p.Check(netip.MustParseAddr(s)); !v.Allowed || v.Cause != "" {
			t.Errorf("%s: %+v", s, v)
		}
	}
	if v := p.Check(netip.Addr{}); v.Allowed {
		t.Error("no address at all is allowed")
	}
}

func TestAllowWins(t *testing.T) {
	p := policy(t, Config{
		Deny:  []string{Recommended, "8.8.8.0/24", "8.8.4.4", "2a00::/16", "::ffff:7.0.0.0/104"},
		Allow: []string{"10.1.0.0/16", "8.8.8.8", "fd00:1::/32", "5.9.8.7", "2a00:1::1", "64:ff9b::a02:1"},
	})
	for s, want := range map[string]bool{
		"10.1.2.3": true, "10.2.2.3": false, "::ffff:10.1.2.3": true,
		// Only the address itself: whoever takes it out of another one is not known.
		"64:ff9b::a01:203": false, "2002:a01:203::1": false, "::10.1.2.3": false, "64:ff9b::a02:1": true,
		"8.8.8.8": true, "8.8.8.9": false, "8.8.4.4": false, "8.8.4.5": true, "7.1.1.1": false, "2002:808:404::": false,
		"fd00:1::9": true, "fd00:2::9": false, "5.9.8.7": true, "5.9.8.255": false,
		"2a00::1": false, "2a00:1::1": true, "2a00:1::2": false,
	} {
		if v := p.Check(netip.MustParseAddr(s)); v.Allowed != want {
			t.Errorf("%s: %+v, want %t", s, v, want)
		}
	}
	if v := p.Check(netip.MustParseAddr("8.8.8.9")); v.Cause != "denied by turn.peers.deny (8.8.8.0/24)" {
		t.Error(v)
	}
	all := policy(t, Config{Deny: []string{Recommended}, Allow: []string{"::/0"}})
	if !all.Check(netip.MustParseAddr("fe80::1")).Allowed || all.Check(netip.MustParseAddr("10.0.0.1")).Allowed ||
		all.Check(netip.MustParseAddr("::ffff:10.0.0.1")).Allowed {
		t.Error("::/0 is all of IPv6 and nothing of IPv4")
	}
	everything := policy(t, Config{Deny: []string{Recommended, "::/0"}})
	if everything.Check(netip.MustParseAddr("2a05::1")).Allowed || !everything.Check(netip.MustParseAddr("8.8.8.8")).Allowed {
		t.Error("a denied ::/0 has holes, or is IPv4 too")
	}
	nothing := policy(t, Config{})
	for _, s := range []string{"127.0.0.1", "::1", "5.9.8.7", "10.0.0.1"} {
		if !nothing.Check(netip.MustParseAddr(s)).Allowed {
			t.Errorf("%s is denied by an empty list", s)
		}
	}
	if !nothing.OwnIP(netip.MustParseAddr("5.9.8.7")) || nothing.OwnIP(netip.MustParseAddr("5.9.8.255")) ||
		!nothing.OwnIP(netip.MustParseAddr("::ffff:127.8.8.8")) || nothing.OwnIP(netip.Addr{}) {
		t.Error("OwnIP does not go by the machine's addresses")
	}
}

func TestMistakes(t *testing.T) {
	_, err := New(Config{
		Deny:       []string{"private", "10.0.0.1/8", "fe80::1%eth0", ""},
		Allow:      []string{Recommended, "1.2.3.4/33"},
		Interfaces: machine,
	})
	if err == nil {
		t.Fatal("no error")
	}
	want := `turn.peers.deny: "private" is neither an address nor a prefix, nor "recommended"
turn.peers.deny: "10.0.0.1/8" is neither an address nor a prefix (did you mean 10.0.0.0/8?), nor "recommended"
turn.peers.deny: "fe80::1%eth0" is neither an address nor a prefix, nor "recommended"
turn.peers.deny: "" is neither an address nor a prefix, nor "recommended"
turn.peers.allow: "recommended" is neither an address nor a prefix
turn.peers.allow: "1.2.3.4/33" is neither an address nor a prefix`
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
	fault := errors.New("no netlink")
	if _, err := New(Config{Interfaces: func() ([]Interface, error) { return nil, fault }}); !errors.Is(err, fault) {
		t.Error(err)
	}
}

func TestRunReadsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[Interface]
		now.Store(&Interface{Prefix: netip.MustParsePrefix("5.5.5.5/24")})
		var log bytes.Buffer
		p := policy(t, Config{
			Deny: []string{Recommended}, Refresh: time.Second,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Interfaces: func() ([]Interface, error) {
				if i := now.Load(); i != nil {
					return []Interface{*i}, nil
				}
				return nil, errors.New("no netlink")
			},
		})
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		now.Store(&Interface{Prefix: netip.MustParsePrefix("6.6.6.6/24")})
		time.Sleep(1500 * time.Millisecond)
		check := func() {
			t.Helper()
			if !p.Check(netip.MustParseAddr("5.5.5.5")).Allowed || p.Check(netip.MustParseAddr("6.6.6.6")).Allowed {
				t.Error("the old addresses hold")
			}
		}
		check()
		now.Store(nil)
		time.Sleep(10 * time.Second)
		check()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings: %s", n, log.String())
		}
	})
}

// TestMachineInterfaces goes by the machine that runs the test.
func TestMachineInterfaces(t *testing.T) {
	p, err := New(Config{Deny: []string{Recommended}})
	if err != nil {
		t.Fatal(err)
	}
	if !p.OwnIP(netip.MustParseAddr("127.0.0.1")) || !p.OwnIP(netip.MustParseAddr("127.9.9.9")) || p.OwnIP(netip.MustParseAddr("8.8.8.8")) {
		t.Errorf("read %+v", p.own.Load().read)
	}
}

// naive says what Check must, the slow way.
func naive(deny, allow []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap()
	in := func(list []netip.Prefix, ip netip.Addr) bool {
		for _, p := range list {
			if p.Contains(ip) {
				return true
			}
		}
		return false
	}
	if in(allow, ip) {
		return true
	}
	if in(deny, ip) {
		return false
	}
	if ip.Is4() {
		return true
	}
	s := ip.StringExpanded()
	for _, f := range []struct {
		like string
		at   int
		turn byte
	}{
		{"0000:0000:0000:0000:0000:0000:", 12, 0}, {"0000:0000:0000:0000:ffff:0000:", 12, 0}, {"0064:ff9b:0000:0000:0000:0000:", 12, 0},
		{"2002:", 2, 0}, {"2001:0000:", 4, 0}, {"2001:0000:", 12, 0xff},
	} {
		if strings.HasPrefix(s, f.like) && in(deny, part(ip, f.at, f.turn)) {
			return false
		}
	}
	if tail := s[20:30]; tail == "0000:5efe:" || tail == "0200:5efe:" {
		return !in(deny, part(ip, 12, 0))
	}
	return true
}

func part(ip netip.Addr, at int, turn byte) netip.Addr {
	b := ip.As16()
	v := binary.BigEndian.Uint32(b[at:]) ^ uint32(turn)*0x01010101
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
}

// FuzzCheck compares with the naive implementation: lists made of the input, asked about the borders of their prefixes
// and about addresses of the input.
func FuzzCheck(f *testing.F) {
	f.Add([]byte("\x00\x0a\x00\x00\x00\x08\x01\x0a\x01\x00\x00\x10"), []byte("\x0a\x01\x02\x03"))
	f.Add([]byte("\x02\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20"), netip.MustParseAddr("64:ff9b::a01:203").AsSlice())
	f.Add([]byte("\x00\xff\xff\xff\xff\x20\x00\x00\x00\x00\x00\x00"), netip.MustParseAddr("2001:0:101:101::fefe:fefe").AsSlice())
	f.Fuzz(func(t *testing.T, lists, addr []byte) {
		var deny, allow []netip.Prefix
		cfg := Config{Interfaces: fixed()}
		for len(lists) >= 6 && len(deny)+len(allow) < 64 {
			kind, size := lists[0], 4
			if kind&2 != 0 {
				size = 16
			}
			if lists = lists[1:]; len(lists) < size+1 {
				break
			}
			ip, _ := netip.AddrFromSlice(lists[:size])
			ip = ip.Unmap()
			p, _ := ip.Prefix(int(lists[size]) % (ip.BitLen() + 1))
			lists = lists[size+1:]
			if p.Addr().Is4In6() {
				continue // a part of ::/96 and more that is IPv4 in Check's eyes
			}
			if kind&1 == 0 {
				deny = append(deny, p)
				cfg.Deny = append(cfg.Deny, p.String())
			} else {
				allow = append(allow, p)
				cfg.Allow = append(cfg.Allow, p.String())
			}
		}
		policy := policy(t, cfg)
		compare := func(ip netip.Addr) {
			if !ip.IsValid() {
				return
			}
			if got, want := policy.Check(ip), naive(deny, allow, ip); got.Allowed != want || got.Allowed != (got.Cause == "") {
				t.Fatalf("%s: %+v, want %t; deny %s, allow %s", ip, got, want, deny, allow)
			}
		}
		for _, p := range append(deny, allow...) {
			compare(p.Addr())
			compare(p.Addr().Prev())
			last := netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, lastOf(p).hi), lastOf(p).lo)))
			compare(last)
			compare(last.Unmap().Next())
			if p.Addr().Is4() {
				for _, ip := range inEveryForm(p.Addr()) {
					compare(ip)
				}
			}
		}
		if len(addr) >= 4 {
			v4 := netip.AddrFrom4([4]byte(addr))
			compare(v4)
			for _, ip := range inEveryForm(v4) {
				compare(ip)
			}
		}
		if len(addr) >= 16 {
			compare(netip.AddrFrom16([16]byte(addr)))
		}
	})
}

// TestRecommendedNaive compares the recommended list with the naive implementation at all its borders.
func TestRecommendedNaive(t *testing.T) {
	p := policy(t, Config{Deny: []string{Recommended}, Interfaces: fixed()})
	longest := func(ip netip.Addr) bool {
		best, what := -1, ""
		for _, r := range recommendedRules {
			if n := netip.MustParsePrefix(r.prefix); n.Contains(ip) && n.Bits() > best {
				best, what = n.Bits(), r.what
			}
		}
		return what != ""
	}
	for _, r := range recommendedRules {
		n := netip.MustParsePrefix(r.prefix)
		k := lastOf(n)
		last := netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, k.hi), k.lo))).Unmap()
		for _, ip := range []netip.Addr{n.Addr().Prev(), n.Addr(), last, last.Next()} {
			if !ip.IsValid() || ip.Is4In6() {
				continue
			}
			want := !longest(ip)
			var c [3]embedded
			if ip.Is6() {
				for _, e := range embeddedIn(ip, &c) {
					want = want && !longest(e.addr)
				}
			}
			if got := p.Check(ip).Allowed; got != want {
				t.Errorf("%s: %t, want %t", ip, got, want)
			}
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	p := policy(t, Config{Deny: []string{Recommended}, Allow: []string{"10.1.0.0/16"}})
	for _, s := range []string{"8.8.8.8", "10.1.0.1", "10.2.0.1", "2606:4700::1111", "64:ff9b::808:808", "64:ff9b::a00:1", "fe80::1"} {
		ip := netip.MustParseAddr(s)
		if n := testing.AllocsPerRun(100, func() { p.Check(ip); p.OwnIP(ip) }); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("%d.%d.%d.0/24", 20+i%100, i/100%256, i%256))
	}
	for name, cfg := range map[string]Config{
		"recommended":        {Deny: []string{Recommended}},
		"10000 prefixes too": {Deny: append([]string{Recommended}, many...)},
	} {
		p := policy(b, cfg)
		for _, s := range []string{"8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "10.0.0.1"} {
			ip := netip.MustParseAddr(s)
			b.Run(name+"/"+s, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p.Check(ip)
				}
			})
		}
	}
}

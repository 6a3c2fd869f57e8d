package peers

import (
	"net/netip"
	"testing"
)

func place(first, last uint16, addrs ...string) Place {
	p := Place{PortMin: first, PortMax: last}
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.MustParseAddr(a))
	}
	return p
}

// The relays of other machines may be reached at private addresses: those alone, with ports of their range, while they are there.
func TestFleet(t *testing.T) {
	p, err := New(Config{Deny: []string{Recommended, "10.9.0.0/16", "10.8.0.0/16"}, Allow: []string{"10.8.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort
	if p.IsRelay(at("10.0.0.2:50000")) || p.HasRelays(netip.MustParseAddr("10.0.0.2")) {
		t.Error("before anything is known")
	}
	p.SetFleet([]Place{
		place(50000, 50099, "10.0.0.2", "fd12::2"), place(50200, 50299, "10.0.0.2"), place(80, 1099, "10.0.0.3"), place(22, 80, "10.0.0.4"),
		place(50000, 50099, "10.9.0.1", "10.8.0.1", "10.8.0.2"),
	})
	for a, want := range map[string]bool{
		"10.0.0.2:50000": true, "10.0.0.2:50099": true, "10.0.0.2:50100": false, "10.0.0.2:49999": false, "10.0.0.2:50250": true,
		"[fd12::2]:50001": true, "[fd12::3]:50001": false, "10.0.0.5:50000": false,
		"10.0.0.3:1024": true, "10.0.0.3:1023": false, "10.0.0.3:80": false, "10.0.0.4:80": false,
		"10.9.0.1:50000": false, "10.8.0.1:50000": true, "10.8.0.2:50000": false, // an operator's deny, and allow
	} {
		if got := p.IsRelay(at(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
		if want && !p.HasRelays(at(a).Addr()) {
			t.Errorf("nothing at %s", a)
		}
	}
	for _, ip := range []string{"10.9.0.1", "10.0.0.4", "10.0.0.5"} {
		if p.HasRelays(netip.MustParseAddr(ip)) {
			t.Errorf("relays at %s", ip)
		}
	}
	if v := p.Check(netip.MustParseAddr("10.0.0.2")); v.Allowed {
		t.Error("a machine as a whole")
	}
	next, err := p.Prepare([]string{Recommended, "10.0.0.0/8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	next.Apply()
	if p.IsRelay(at("10.0.0.2:50000")) || p.IsRelay(at("10.8.0.1:50000")) {
		t.Error("a deny that came later")
	}
	if !p.IsRelay(at("[fd12::2]:50001")) {
		t.Error("it denies another one too")
	}
	p.SetFleet(nil)
	if p.IsRelay(at("[fd12::2]:50001")) {
		t.Error("a machine that is gone")
	}
}

// Some addresses are no machine's, whoever says so.
func TestFleetIsNotBelieved(t *testing.T) {
	p, err := New(Config{Deny: []string{Recommended}})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{
		"127.0.0.1", "127.255.0.1", "::1", "0.0.0.0", "0.1.2.3", "::", "169.254.1.1", "169.254.169.254", "169.254.170.2", "fe80::1",
		"224.0.0.1", "239.1.1.1", "ff02::1", "255.255.255.255", "240.0.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"fd00:ec2::254", "fd20:ce::254", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::", "100::1",
		"fd12::5efe:a00:1", "fe80::1%eth0", "4000::1",
	} {
		p.SetFleet([]Place{place(49152, 65535, ip)})
		a := netip.MustParseAddr(ip)
		if p.HasRelays(a) || p.IsRelay(netip.AddrPortFrom(a, 50000)) {
			t.Errorf("%s is believed", ip)
		}
	}
	for _, ip := range []string{"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "198.18.0.1", "fd12::1", "2a00::1", "2001:db8::1"} {
		p.SetFleet([]Place{place(49152, 65535, ip)})
		if !p.HasRelays(netip.MustParseAddr(ip)) {
			t.Errorf("%s is not believed", ip)
		}
	}
	p.SetFleet([]Place{{Addrs: []netip.Addr{{}}, PortMin: 50000, PortMax: 50001}})
	if p.HasRelays(netip.Addr{}) {
		t.Error("no address at all")
	}
}

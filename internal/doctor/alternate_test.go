package doctor

import (
	"net/netip"
	"testing"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// A server that sends clients elsewhere is followed as they do, and where that leads is looked at.
func TestAlternateServer(t *testing.T) {
	other, _ := turnServer(t, relays{}, nil)
	sends := func(to string) Target {
		f := fake{codes: map[stunmsg.Type]int{stunmsg.AllocateRequest: 300}}
		if to != "" {
			f.alternate = netip.MustParseAddrPort(to)
		}
		return Target{"turn:" + f.serve(t), user, password}
	}
	host := func(t Target) string { return t.URL[len("turn:"):] }

	once := sends(other)
	twice := sends(host(once))
	got := examine(t, Config{}, twice)
	wantNo(t, got, Fail)
	want(t, got, OK, "alternate", host(twice)+" sends this client to "+host(once))
	want(t, got, OK, "alternate", host(once)+" sends this client to "+other)
	want(t, got, OK, "relay", "both ways")
	want(t, got, OK, "peer", "both ways")

	four := sends(host(sends(host(twice))))
	silent := fake{codes: map[stunmsg.Type]int{stunmsg.AllocateRequest: 508}}.serve(t)
	for _, c := range []struct {
		target Target
		check  string
		texts  []string
	}{
		{four, "allocate", []string{"sends clients to " + other, "the 5th server in a row", "turn.alternate"}},
		{sends(""), "allocate", []string{"another server, but does not say which", "turn.alternate"}},
		{sends("0.0.0.0:3478"), "allocate", []string{"0.0.0.0:3478", "no server can be there"}},
		{sends("127.0.0.1:0"), "allocate", []string{"no server can be there"}},
		{sends("[2001:db8::1]:3478"), "allocate", []string{"of the other family"}},
		{sends(silent), "allocate", []string{"no capacity left (508)"}},
	} {
		want(t, examine(t, Config{}, c.target), Fail, c.check, c.texts...)
	}
	p := &probe{at: netip.MustParseAddrPort("192.0.2.1:3478"), u: iceURL{transport: "udp"}}
	for to, ok := range map[string]bool{"192.0.2.1:3478": false, "192.0.2.2:3478": true, "10.0.0.1:3478": false, "127.0.0.1:3478": false} {
		if why := p.mayFollow(netip.MustParseAddrPort(to), []netip.AddrPort{p.at}); (why == "") != ok {
			t.Errorf("%s: %q", to, why)
		}
	}
	p.u.transport = "tls"
	if p.mayFollow(netip.MustParseAddrPort("192.0.2.2:3478"), nil) == "" {
		t.Error("a client of TLS is sent to another name")
	}
}

package publicaddr

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	at := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	auto := Settings{Host: "auto", IPv4: "auto", IPv6: "off"}
	lan, docker := Family{Bind: at("192.168.1.5"), Advertise: at("192.168.1.5")}, Family{Bind: at("172.17.0.2"), Advertise: at("172.17.0.2")}
	outside := Family{Bind: at("5.9.8.7"), Advertise: at("5.9.8.7")}
	nat := Family{Bind: at("192.168.1.5"), Advertise: at("5.9.8.7")}
	for name, c := range map[string]struct {
		cfg  Settings
		ipv4 Family
		s    situation
		want []string
		says string
	}{
		"a server on the Internet":        {auto, outside, situation{exposed: true}, nil, ""},
		"a private address":               {auto, lan, situation{exposed: true}, []string{"public.private"}, "clients are told 192.168.1.5, a private address"},
		"a private address, not exposed":  {auto, lan, situation{}, nil, ""},
		"loopback":                        {auto, Family{Bind: at("127.0.0.1"), Advertise: at("127.0.0.1")}, situation{exposed: true}, []string{"public.private"}, "only this machine"},
		"a provider's own NAT":            {auto, Family{Bind: at("100.64.1.1"), Advertise: at("100.64.1.1")}, situation{exposed: true}, []string{"public.private"}, ""},
		"in Docker":                       {auto, docker, situation{exposed: true, container: "Docker"}, []string{"public.container"}, "runs in Docker"},
		"in Docker on the host's network": {auto, lan, situation{exposed: true, container: "Docker"}, []string{"public.private"}, ""},
		"in Docker, told":                 {auto, Family{Bind: at("172.17.0.2"), Advertise: at("5.9.8.7")}, situation{exposed: true, container: "Docker"}, []string{"public.nat"}, "172.17.0.2"},
		"behind NAT":                      {auto, nat, situation{exposed: true, seen: Seen{Mapped: at("5.9.8.7")}}, []string{"public.nat"}, "relays on 192.168.1.5 are told to clients as 5.9.8.7"},
		"set wrongly": {Settings{Host: "auto", IPv4: "5.9.8.6"}, outside, situation{exposed: true, seen: Seen{Mapped: at("5.9.8.1")}},
			[]string{"public.differs"}, "see this machine at 5.9.8.1"},
		"several": {auto, outside, situation{seen: Seen{Mapped: at("5.9.8.7"), others: []netip.Addr{at("5.9.8.1")}}}, []string{"public.many"}, "[5.9.8.1]"},
		"silent":  {auto, outside, situation{seen: Seen{silent: []string{"stun:a"}, because: "no answer"}}, []string{"public.stun"}, "stun:a of public.stun: no answer"},
		"host that is not there": {Settings{Host: "t.example"}, outside, situation{errHost: errors.New("no such host")}, []string{"public.host"},
			"public.host t.example cannot be resolved (no such host)"},
		"host elsewhere": {Settings{Host: "t.example"}, outside, situation{host: []netip.Addr{at("5.9.8.1")}}, []string{"public.host"},
			"t.example is at [5.9.8.1], and this server is at 5.9.8.7"},
		"address elsewhere": {Settings{Host: "5.9.8.1"}, outside, situation{host: []netip.Addr{at("5.9.8.1")}}, []string{"public.host"}, "public.host is 5.9.8.1"},
		"host here":         {Settings{Host: "t.example"}, nat, situation{host: []netip.Addr{at("2001:db8::1"), at("5.9.8.7")}}, nil, ""},
		"host inside":       {Settings{Host: "t.example"}, nat, situation{host: []netip.Addr{at("192.168.1.5")}}, nil, ""},
	} {
		if c.s.local == nil {
			c.s.local = func(a netip.Addr) bool { return a == c.ipv4.Bind }
		}
		var ids []string
		got := judge(c.cfg, Public{IPv4: c.ipv4}, c.s)
		for _, f := range got {
			ids = append(ids, f.ID)
		}
		if !slices.Equal(ids, c.want) || len(got) > 0 && !strings.Contains(got[0].Detail, c.says) {
			t.Errorf("%s: %+v, want %v: %s", name, got, c.want, c.says)
		}
		for _, w := range got {
			if w.Remedy == "" || strings.Contains(w.Detail+w.Remedy, "\n") {
				t.Errorf("%s: %+v", name, w)
			}
		}
	}
}

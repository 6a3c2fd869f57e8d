package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestOutlets(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.10":                "{192.0.2.10 invalid IP}",
		"192.0.2.10/10.0.0.10":      "{192.0.2.10 10.0.0.10}",
		"2001:db8::10 / fd00::10":   "{2001:db8::10 fd00::10}",
		" 127.0.0.1 / 127.0.0.1   ": "{127.0.0.1 127.0.0.1}",
	} {
		if got := fmt.Sprint(Outlets([]string{text})[0]); got != want || outlet(text) != nil {
			t.Errorf("%q: %s, %v", text, got, outlet(text))
		}
	}
	for _, text := range []string{
		"", "/", "192.0.2.10/", "/10.0.0.10", "192.0.2.10/24", "192.0.2.10:3478", "turn.example.org", "0.0.0.0", "::", "fe80::1%eth0", "224.0.0.1",
		"::ffff:192.0.2.10", "192.0.2.10/fd00::1", "192.0.2.10/10.0.0.10/10.0.0.11",
	} {
		if outlet(text) == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestNATDiscovery(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"wildcards":       {`nat_discovery = ["192.0.2.10", "192.0.2.11"]`, ""},
		"both families":   {`nat_discovery = ["192.0.2.10", "2001:db8::1", "192.0.2.11", "2001:db8::2"]`, ""},
		"behind NAT":      {`nat_discovery = ["192.0.2.10/10.0.0.10", "192.0.2.11/10.0.0.11"]` + "\n" + `listen = ["10.0.0.10:1", "10.0.0.10:2", "10.0.0.11:2", "10.0.0.11:1"]` + "\nlisten_tls = []", ""},
		"the system's":    {`nat_discovery = ["127.0.0.1", "127.0.0.2"]` + "\n" + `listen = ["127.0.0.1:0"]`, ""},
		"one":             {`nat_discovery = ["192.0.2.10"]`, "must have two addresses of a family"},
		"one of a family": {`nat_discovery = ["192.0.2.10", "192.0.2.11", "2001:db8::1"]`, "must have two addresses of a family"},
		"three":           {`nat_discovery = ["192.0.2.10", "192.0.2.11", "192.0.2.12"]`, "must have two addresses of a family"},
		"twice the same":  {`nat_discovery = ["192.0.2.10/10.0.0.10", "192.0.2.11/10.0.0.10"]`, "must have two addresses of a family"},
		"one port":        {`nat_discovery = ["192.0.2.10", "192.0.2.11"]` + "\n" + `listen_tls = ["192.0.2.10:5349"]`, "do not have the same two ports of 192.0.2.10 and 192.0.2.11"},
		"IPv4 alone":      {`nat_discovery = ["2001:db8::1", "2001:db8::2"]` + "\n" + `listen = ["0.0.0.0:3478"]`, "do not have the same two ports"},
		"no UDP":          {`nat_discovery = ["192.0.2.10", "192.0.2.11"]` + "\n" + `transports = ["tcp", "dtls"]`, "needs plain UDP"},
		"no address":      {`nat_discovery = ["192.0.2.10", "turn.example.org"]`, `"turn.example.org" is no IP address that a machine has`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load("[turn]\n" + c.file)
			if text := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(text, c.want) || c.want != "" && !strings.Contains(text, "turn.nat_discovery") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// TestRoutesThatChange begins on a machine with an IPv6 route alone, as a server whose configuration says nothing of
// addresses. What Nodes are told, and from which family they get a relay that names none, follows the routes.
func TestRoutesThatChange(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	const four, six = "198.51.100.1", "2001:db8::1"
	runs(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
	for _, name := range []string{"up0", "up1"} {
		runs(t, "ip", "link", "set", name, "up")
	}
	runs(t, "ip", "-6", "addr", "add", six+"/64", "dev", "up0", "nodad")
	runs(t, "ip", "-6", "route", "add", "default", "via", "2001:db8::2", "dev", "up0")
	port := must(freeports.Next())(t)
	s := serve(t, "host = \"127.0.0.1\"\nipv4 = \"127.0.0.1\"\nipv6 = \"off\"\n", "",
		"[turn]\nlisten = [", fmt.Sprintf("[turn]\ntransports = [\"udp\", \"tcp\"]\nlisten = [\":%d\", ", port))
	told := func() (hosts []string, turns int) {
		conf, _ := s.resolve(t, "Alice")
		for _, i := range conf.IceServers {
			for _, u := range i.URLs {
				scheme, rest, _ := strings.Cut(u, ":")
				host, _, _ := strings.Cut(rest, fmt.Sprint(":", port))
				if strings.HasPrefix(host, "127.") { // of the listener that the test's other clients use
					continue
				}
				if scheme != "stun" {
					turns++
				}
				if !slices.Contains(hosts, host) {
					hosts = append(hosts, host)
				}
			}
		}
		slices.Sort(hosts)
		return hosts, turns
	}
	relayIn := func(family, at string) {
		t.Helper()
		name, password := s.credentials(t, "Alice")
		c, err := turnclient.Dial(patiently(t), turnclient.Options{
			Transport: "udp", Addr: netip.AddrPortFrom(netip.MustParseAddr(at), uint16(port)).String(), Username: name, Password: password,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := c.Allocate(patiently(t), nil)
		if err != nil || a.Relayed.Addr().String() != family {
			t.Errorf("an allocation that names no family: %v, %v; want %s", a.Relayed, err, family)
		}
	}
	follows := func(what string, want ...string) {
		t.Helper()
		began := time.Now()
		var got []string
		for end := began.Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			n := 0
			if got, n = told(); n > 6 {
				t.Fatalf("%d TURN URLs", n)
			}
			if slices.Equal(got, want) {
				t.Logf("%s: told after %s", what, time.Since(began).Round(time.Millisecond))
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: told %q, want %q\n%s", what, got, want, s.logs())
			}
		}
	}
	follows("an IPv6 route alone", "["+six+"]")
	relayIn(six, six)
	runs(t, "ip", "addr", "add", four+"/24", "dev", "up0")
	runs(t, "ip", "route", "add", "default", "via", "198.51.100.2", "dev", "up0")
	follows("IPv4 comes", four, "["+six+"]")
	relayIn(four, six)
	runs(t, "ip", "-6", "addr", "del", six+"/64", "dev", "up0")
	follows("IPv6 goes", four)
	relayIn(four, four)
	runs(t, "ip", "-6", "addr", "add", six+"/64", "dev", "up0", "nodad")
	runs(t, "ip", "-6", "route", "replace", "default", "via", "2001:db8::2", "dev", "up0")
	runs(t, "ip", "addr", "del", four+"/24", "dev", "up0")
	follows("and the other way round", "["+six+"]")
	relayIn(six, six)
}

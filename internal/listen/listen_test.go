package listen

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		":3478": ":3478", ":0": ":0", "127.0.0.1:3478": "127.0.0.1:3478", "0.0.0.0:1": "0.0.0.0:1", "[::]:1": "[::]:1",
		"[2001:DB8:0::1]:65535": "[2001:db8::1]:65535", "[::ffff:192.0.2.1]:1": "192.0.2.1:1", "[fe80::1%eth0]:1": "[fe80::1%eth0]:1",
	} {
		a, err := Parse(text)
		if err != nil || a.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, a, err, want)
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Errorf("%s reads as %s, %v", a, again, err)
		}
	}
	for text, want := range map[string]string{
		"localhost:3478": `write "127.0.0.1:3478"`, "": "must be ADDRESS:PORT", "3478": "must be", ":65536": "must be", ":-1": "must be",
		"::1:3478": "must be", "[::1]": "must be", "a:1": "must be", "127.0.0.1:": "must be", strings.Repeat("x", 200): "…",
	} {
		if a, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %s", text, a, err, want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{":1", ":1", true}, {":1", ":2", false}, {":0", ":0", false},
		{":1", "127.0.0.1:1", true}, {":1", "[::1]:1", true}, {":1", "0.0.0.0:1", true},
		{"0.0.0.0:1", "127.0.0.1:1", true}, {"0.0.0.0:1", "[::1]:1", false},
		{"[::]:1", "[::1]:1", true}, {"[::]:1", "127.0.0.1:1", true}, {"[::]:1", "0.0.0.0:1", true},
		{"127.0.0.1:1", "127.0.0.1:1", true}, {"127.0.0.1:1", "127.0.0.2:1", false},
	} {
		a, errA := Parse(c.a)
		b, errB := Parse(c.b)
		if errA != nil || errB != nil || a.Overlaps(b) != c.want || b.Overlaps(a) != c.want {
			t.Errorf("%s and %s: %v %v, want %v", c.a, c.b, a.Overlaps(b), b.Overlaps(a), c.want)
		}
	}
}

func TestIs(t *testing.T) {
	for _, c := range []struct {
		listen, at string
		want       bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true}, {"127.0.0.1:80", "[::ffff:127.0.0.1]:80", true}, {"127.0.0.1:0", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false}, {"127.0.0.1:80", "0.0.0.0:80", false},
		{":80", "0.0.0.0:80", true}, {":80", "[::]:80", true}, {":80", "127.0.0.1:80", false}, {":80", "[::]:81", false},
		{"[::1]:80", "[::1]:80", true}, {"0.0.0.0:80", "[::]:80", false},
	} {
		a, err := Parse(c.listen)
		if got := a.Is(netip.MustParseAddrPort(c.at)); err != nil || got != c.want {
			t.Errorf("%s is %s: %v, %v", c.listen, c.at, got, err)
		}
	}
}

func TestExposed(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": false, "127.9.9.9:1": false, "[::1]:1": false, "[::ffff:127.0.0.1]:1": false,
		":1": true, "0.0.0.0:1": true, "[::]:1": true, "192.0.2.1:1": true, "localhost:1": true, "": true,
	} {
		if Exposed(address) != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
}

func TestTCP(t *testing.T) {
	l, err := TCP("0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil || !at.Addr().Is4() {
		t.Errorf("the wildcard of IPv4 is bound to %s", l.Addr())
	}
	_, err = TCP(at.String())
	want := "TCP port " + strings.TrimPrefix(at.String(), "0.0.0.0:") + " is in use on 0.0.0.0: is another instance running?"
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), want) || strings.Count(err.Error(), "0.0.0.0") != 1 {
		t.Error(err)
	}
	if _, err = TCP("192.0.2.77:40000"); !errors.Is(err, syscall.EADDRNOTAVAIL) ||
		!strings.HasPrefix(err.Error(), "TCP 192.0.2.77:40000: this machine does not have the address 192.0.2.77:") {
		t.Error(err)
	}
	if _, err = TCP("localhost:1"); err == nil || !strings.Contains(err.Error(), "not a name") {
		t.Error(err)
	}
}

func TestErrorOfPrivilegedPort(t *testing.T) {
	denied := os.NewSyscallError("bind", syscall.EACCES)
	for at, want := range map[string]string{
		"0.0.0.0:443":  "UDP port 443 is privileged: run with CAP_NET_BIND_SERVICE or choose a port above 1023 (bind: permission denied)",
		"0.0.0.0:4430": "cannot listen on UDP 0.0.0.0:4430: bind: permission denied",
	} {
		if got := Error("UDP", netip.MustParseAddrPort(at), denied); got.Error() != want || !errors.Is(got, syscall.EACCES) {
			t.Errorf("%v, want %s", got, want)
		}
	}
}

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// coturn's own client allocates, sends, and counts what comes back, with a credential from the webhook: over every transport, to
// the server's address in either family, for a relayed address in either, in Send indications and on channels, which it numbers
// as in RFC 5766, beyond what RFC 8656 leaves to TURN. EVEN-PORT is what it asks for by default.
func TestTurnutilsUclient(t *testing.T) {
	client := program(t, "turnutils_uclient")
	echo := program(t, "turnutils_peer")
	s, _, _ := serveBoth(t, "allow = []", `allow = ["127.0.0.1", "::1"]`, "[turn]\n", "[turn]\ntcp_relays = true\n")
	_, port, _ := net.SplitHostPort(s.turn)
	_, tlsPort, _ := net.SplitHostPort(s.tls)
	peerPort := fmt.Sprint(must(freeports.Next())(t))
	p := exec.Command(echo, "-L", "127.0.0.1", "-L", "::1", "-p", peerPort)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })

	// It sleeps for most of its time: more of them run at once than there are processors, and more than t.Parallel would have.
	var all errgroup.Group
	all.SetLimit(8)
	one := func(what, host, port string, args ...string) {
		t.Run(what, func(t *testing.T) {
			user, pass := s.credentials(t, "uclient "+what)
			args = append([]string{"-u", user, "-w", pass, "-p", port, "-n", "20", "-m", "2", "-l", "170"}, args...)
			out, err := run(t, client, append(args, host)...)
			out = strings.ReplaceAll(out, pass, "…")
			if err != nil {
				t.Fatalf("%v\n%s", err, tail(out))
			}
			if !strings.Contains(out, "Total lost packets 0 (0.000000%)") {
				t.Errorf("packets were lost:\n%s", tail(out))
			}
			if why, err := run(t, binary, "why", "--config", s.config, "uclient "+what); slices.Contains(args, "-M") != strings.Contains(why, " moved from ") {
				t.Errorf("%v\n%s", err, why)
			}
		})
	}
	try := func(what, host, port string, args ...string) {
		all.Go(func() error { one(what, host, port, args...); return nil })
	}
	hosts := map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"}
	ways := append(over("udp", "tcp", "tls", "dtls"), sixes("udp", "tcp", "tls", "dtls")...)
	for i, w := range ways {
		args := map[string][]string{"udp": nil, "tcp": {"-t"}, "tls": {"-t", "-S"}, "dtls": {"-S"}}[w.transport]
		at := port
		if len(args) > 0 && args[len(args)-1] == "-S" {
			at = tlsPort
		}
		asked := map[string]string{"IPv4": "-X", "IPv6": "-x"}[w.relayed]
		try("channels, "+w.String(), hosts[w.path], at, append(slices.Clone(args), asked, "-e", hosts[w.relayed], "-r", peerPort)...)
		if i%3 == 0 { // every transport and family at least once
			try("indications, "+w.String(), hosts[w.path], at, append(slices.Clone(args), "-s", asked, "-e", hosts[w.relayed], "-r", peerPort)...)
		}
	}
	toPeer := []string{"-e", "127.0.0.1", "-r", peerPort}
	for _, c := range []struct {
		name, port string
		args       []string
	}{
		{"UDP relay to relay", port, []string{"-y"}},
		{"TCP relay to relay", port, []string{"-t", "-y"}},
		{"TLS on the plain port", port, append([]string{"-t", "-S"}, toPeer...)},
		{"DTLS on the plain port", port, append([]string{"-S"}, toPeer...)},
		{"TCP on the TLS port", tlsPort, append([]string{"-t"}, toPeer...)},
		{"UDP, an address in each family", port, append([]string{"-Z"}, toPeer...)},
		{"UDP relay to relay, an address in each family", port, []string{"-Z", "-y"}},
		{"TLS relay to relay, an address in each family", tlsPort, []string{"-Z", "-y", "-t", "-S"}},
	} {
		try(c.name+", channels", "127.0.0.1", c.port, c.args...)
		try(c.name+", indications", "127.0.0.1", c.port, append([]string{"-s"}, c.args...)...)
	}
	try("TCP relay to relay of TCP", "127.0.0.1", port, "-T") // one connects, the other is connected to
	try("TLS relay to relay of TCP", "127.0.0.1", tlsPort, "-T", "-S")
	// With -M it goes to another port of its own, by a ticket. With TLS and DTLS it then fails, or crashes, every now and then,
	// with coturn's server too.
	try("UDP, moving", "127.0.0.1", port, append([]string{"-M"}, toPeer...)...)
	try("UDP relay to relay, moving", "127.0.0.1", port, "-M", "-y")
	try("TCP, moving", "127.0.0.1", port, append([]string{"-M", "-t"}, toPeer...)...)
	_ = all.Wait()
	for _, w := range ways {
		went(t, "coturn's turnutils_uclient", w)
	}
	tried(t, "coturn's turnutils_uclient", says("dpkg-query", "-W", "-f", "${Version}", "coturn"),
		"channels and Send indications, to an echo and relay to relay, on either port; an address in each family, of which it "+
			"refreshes one or both; moving to another port by a ticket, over UDP and TCP; TCP relays, relay to relay; nothing lost")
}

// coturn's client goes where it is sent, and has its relays there.
func TestAlternateServer(t *testing.T) {
	client := program(t, "turnutils_uclient")
	secret := "[credentials]\nsecret = \"one secret for both of the servers\"\n[log]"
	other := serve(t, "[log]", secret)
	s := serve(t, "[log]", secret, "[turn]\n", "[turn]\nalternate = \""+other.turn+"\"\n")
	host, port, _ := net.SplitHostPort(s.turn)
	for _, transport := range [][]string{nil, {"-t"}} {
		user, pass := s.credentials(t, "sent away")
		args := append([]string{"-s", "-y", "-u", user, "-w", pass, "-p", port, "-n", "10", "-m", "2", "-l", "170"}, transport...)
		out, err := run(t, client, append(args, host)...)
		out = strings.ReplaceAll(out, pass, "…")
		if err != nil || !strings.Contains(out, "Total lost packets 0 (0.000000%)") {
			t.Fatalf("%v\n%s", err, tail(out))
		}
	}
	for name, one := range map[string]*server{"the first": s, "the other": other} {
		out, err := run(t, binary, "why", "--config", one.config, "sent away")
		if has := strings.Contains(out, "over udp from") && strings.Contains(out, "over tcp from"); err != nil || has != (one == other) {
			t.Errorf("%s server: %v\n%s", name, err, out)
		}
	}
	// doctor goes where they go, says so, and looks at what is there.
	out, err := run(t, binary, "doctor", "--config", s.config)
	if err != nil || strings.Count(out, "sends this client to "+other.turn) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

// discovering starts a server whose UDP listeners are at two addresses and two ports, and returns the first port.
func discovering(t *testing.T, one, other string) (port string) {
	t.Helper()
	s := serveWith(t, func(s *server) {
		_, port, _ := net.SplitHostPort(s.turn)
		_, tlsPort, _ := net.SplitHostPort(s.tls)
		s.env = append(s.env, "CROLANG_AIO_TURN_LISTEN="+net.JoinHostPort(one, port)+","+net.JoinHostPort(other, port),
			"CROLANG_AIO_TURN_LISTEN_TLS="+net.JoinHostPort(one, tlsPort)+","+net.JoinHostPort(other, tlsPort),
			"CROLANG_AIO_TURN_NAT_DISCOVERY="+one+","+other)
	})
	_, port, _ = net.SplitHostPort(s.turn)
	return port
}

// coturn's own program finds out about the NAT that is not there, and is refused what would amplify.
func TestTurnutilsNATDiscovery(t *testing.T) {
	client := program(t, "turnutils_natdiscovery")
	port := discovering(t, "127.0.0.1", "127.0.0.2")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"-m"}, []string{"NAT with Endpoint Independent Mapping!", "No ALG: Mapped == XOR-Mapped", "Response origin: : 127.0.0.2:" + port}},
		{[]string{"-f"}, []string{"NAT with Endpoint Independent Filtering!"}},
		{[]string{"-t", "-T", "1"}, []string{"RFC 5780 response 2"}}, // to another port than it comes from
		{[]string{"-m", "-P"}, []string{"The response is an error 420"}},
	} {
		out, err := run(t, client, append(c.args, "-p", port, "127.0.0.1")...)
		for _, text := range c.want {
			if err != nil || !strings.Contains(out, text) {
				t.Errorf("%v: %v, no %q in\n%s", c.args, err, text, tail(out))
			}
		}
	}
	out, err := run(t, binary, "doctor", "--url", "stun:127.0.0.2:"+port)
	if err != nil || !strings.Contains(out, "there is no NAT on the way to it") || !strings.Contains(out, "direct connections work") {
		t.Errorf("%v\n%s", err, out)
	}
	// Of its own machine doctor asks a server elsewhere, which public.stun names.
	asks := serveWith(t, func(s *server) { s.env = append(s.env, "CROLANG_AIO_PUBLIC_STUN=stun:127.0.0.1:"+port) })
	cmd := exec.Command(binary, "doctor", "--config", asks.config)
	cmd.Env = append(os.Environ(), asks.env...)
	if b, err := cmd.Output(); err != nil || strings.Count(string(b), "nat          stun:127.0.0.1:"+port+"  there is no NAT") != 1 {
		t.Errorf("%v\n%s", err, b)
	}
	tried(t, "coturn's turnutils_natdiscovery", says("dpkg-query", "-W", "-f", "${Version}", "coturn"),
		"finds out about mapping, filtering and the lifetime of a mapping (RFC 5780), without a NAT and behind Linux's; its PADDING is refused")
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

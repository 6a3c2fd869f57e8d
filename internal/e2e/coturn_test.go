package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// coturn's own client allocates, sends indications, and counts what comes back, over every transport, with a credential
// from the webhook. EVEN-PORT is what it asks for by default.
func TestTurnutilsUclient(t *testing.T) {
	client := program(t, "turnutils_uclient")
	echo := program(t, "turnutils_peer")
	s := serve(t, "allow = []", `allow = ["127.0.0.1"]`, `ipv6 = "off"`, `ipv6 = "::1"`)
	host, port, _ := net.SplitHostPort(s.turn)
	_, tlsPort, _ := net.SplitHostPort(s.tls)
	peerPort := freePort(t)
	p := exec.Command(echo, "-L", "127.0.0.1", "-p", fmt.Sprint(peerPort))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })

	toPeer := []string{"-e", "127.0.0.1", "-r", fmt.Sprint(peerPort)}
	for _, c := range []struct {
		name, port string
		args       []string
	}{
		{"UDP", port, toPeer},
		{"UDP relay to relay", port, []string{"-y"}},
		{"TCP", port, append([]string{"-t"}, toPeer...)},
		{"TCP relay to relay", port, []string{"-t", "-y"}},
		{"TLS", tlsPort, append([]string{"-t", "-S"}, toPeer...)},
		{"TLS on the plain port", port, append([]string{"-t", "-S"}, toPeer...)},
		{"DTLS", tlsPort, append([]string{"-S"}, toPeer...)},
		{"DTLS on the plain port", port, append([]string{"-S"}, toPeer...)},
		{"TCP on the TLS port", tlsPort, append([]string{"-t"}, toPeer...)},
		{"UDP, an address in each family", port, append([]string{"-Z"}, toPeer...)},
		{"UDP relay to relay, an address in each family", port, []string{"-Z", "-y"}},
		{"TLS relay to relay, an address in each family", tlsPort, []string{"-Z", "-y", "-t", "-S"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			user, pass := s.credentials(t, "uclient "+c.name)
			// -s: indications. Its channels are numbered as in RFC 5766, beyond what RFC 8656 leaves to TURN.
			args := append([]string{"-s", "-u", user, "-w", pass, "-p", c.port, "-n", "20", "-m", "2", "-l", "170"}, c.args...)
			out, err := run(t, client, append(args, host)...)
			out = strings.ReplaceAll(out, pass, "…")
			if err != nil {
				t.Fatalf("%v\n%s", err, tail(out))
			}
			if !strings.Contains(out, "Total lost packets 0 (0.000000%)") {
				t.Errorf("packets were lost:\n%s", tail(out))
			}
		})
	}
	t.Cleanup(func() { // after the parallel ones
		tried(t, "coturn's turnutils_uclient", says("dpkg-query", "-W", "-f", "${Version}", "coturn"),
			"Send indications to an echo and relay to relay, over UDP, TCP, TLS and DTLS, on either port; an address in each family, of which it "+
				"refreshes one or both; nothing lost")
	})
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
func discovering(t *testing.T, one, other, conf string) (*server, string) {
	t.Helper()
	s := serveWith(t, func(s *server) {
		_, port, _ := net.SplitHostPort(s.turn)
		_, tlsPort, _ := net.SplitHostPort(s.tls)
		s.env = append(s.env, fmt.Sprintf("CROLANG_AIO_TURN_LISTEN=%s:%s,%s:%s", one, port, other, port),
			fmt.Sprintf("CROLANG_AIO_TURN_LISTEN_TLS=%s:%s,%s:%s", one, tlsPort, other, tlsPort),
			"CROLANG_AIO_TURN_NAT_DISCOVERY="+one+","+other)
	}, "[redis]", conf+"[redis]")
	_, port, _ := net.SplitHostPort(s.turn)
	return s, port
}

// coturn's own program finds out about the NAT that is not there, and is refused what would amplify.
func TestTurnutilsNATDiscovery(t *testing.T) {
	client := program(t, "turnutils_natdiscovery")
	_, port := discovering(t, "127.0.0.1", "127.0.0.2", "")
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

package e2e

import (
	"fmt"
	"net"
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
		// With -M it goes to another port of its own, by a ticket. With TLS and DTLS it then fails, or crashes, every now and
		// then, with coturn's server too.
		{"UDP, moving", port, append([]string{"-M"}, toPeer...)},
		{"UDP relay to relay, moving", port, []string{"-M", "-y"}},
		{"TCP, moving", port, append([]string{"-M", "-t"}, toPeer...)},
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
			if why, err := run(t, binary, "why", "--config", s.config, "uclient "+c.name); strings.Contains(c.name, "moving") != strings.Contains(why, " moved from ") {
				t.Errorf("%v\n%s", err, why)
			}
		})
	}
	t.Cleanup(func() { // after the parallel ones
		tried(t, "coturn's turnutils_uclient", says("dpkg-query", "-W", "-f", "${Version}", "coturn"),
			"Send indications to an echo and relay to relay, over UDP, TCP, TLS and DTLS, on either port; an address in each family, of which it "+
				"refreshes one or both; moving to another port by a ticket, over UDP and TCP; nothing lost")
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
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

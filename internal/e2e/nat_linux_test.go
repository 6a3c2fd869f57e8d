package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// namespace is a network of its own, held by a process that ends with the test.
type namespace string

func newNamespace(t *testing.T) namespace {
	t.Helper()
	p := exec.Command("unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 300")
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	if n, err := out.Read(make([]byte, 8)); n == 0 {
		t.Fatalf("no namespace: %v", err)
	}
	return namespace(fmt.Sprint(p.Process.Pid))
}

// in is a command that runs there.
func (n namespace) in(command ...string) []string {
	return append([]string{"-t", string(n), "-n"}, command...)
}

func (n namespace) runs(t *testing.T, command ...string) {
	t.Helper()
	runs(t, "nsenter", n.in(command...)...)
}

// A machine behind a NAT of Linux finds out which kind it is, and so does coturn's program, which says the same.
func TestNATOfLinux(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	for _, p := range []string{"nsenter", "unshare", "iptables"} {
		program(t, p)
	}
	router, client := newNamespace(t), newNamespace(t)
	if exec.Command("nsenter", router.in("iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")...).Run() != nil {
		t.Skip("this kernel has no NAT")
	}
	runs(t, "ip", "link", "add", "s0", "type", "veth", "peer", "name", "r0", "netns", string(router))
	for _, ip := range []string{"198.51.100.1/24", "198.51.100.2/24"} {
		runs(t, "ip", "addr", "add", ip, "dev", "s0")
	}
	runs(t, "ip", "link", "set", "s0", "up")
	for _, c := range []string{
		"ip link add r1 type veth peer name c0 netns " + string(client), "ip addr add 198.51.100.9/24 dev r0", "ip link set r0 up",
		"ip addr add 10.9.0.1/24 dev r1", "ip link set r1 up", "sysctl -qw net.ipv4.ip_forward=1",
	} {
		router.runs(t, strings.Fields(c)...)
	}
	for _, c := range []string{"ip addr add 10.9.0.2/24 dev c0", "ip link set c0 up", "ip route add default via 10.9.0.1"} {
		client.runs(t, strings.Fields(c)...)
	}
	_, port := discovering(t, "198.51.100.1", "198.51.100.2", "")
	for _, c := range []struct {
		rule, says, coturn string
	}{
		{"MASQUERADE", "with endpoint-independent mapping and address- and port-dependent filtering", "NAT with Endpoint Independent Mapping!"},
		{"MASQUERADE --random-fully", "with address- and port-dependent mapping and filtering", "NAT with Address and Port Dependent Mapping!"},
	} {
		router.runs(t, "iptables", "-t", "nat", "-F")
		router.runs(t, strings.Fields("iptables -t nat -A POSTROUTING -o r0 -j "+c.rule)...)
		out, err := run(t, "nsenter", client.in(binary, "doctor", "--url", "stun:198.51.100.1:"+port)...)
		if err != nil || !strings.Contains(out, c.says) || !strings.Contains(out, "10.9.0.2 is seen as 198.51.100.9") {
			t.Errorf("%s: %v\n%s", c.rule, err, out)
		}
		out, err = run(t, "nsenter", client.in(program(t, "turnutils_natdiscovery"), "-m", "-f", "-p", port, "198.51.100.1")...)
		if err != nil || !strings.Contains(out, c.coturn) || !strings.Contains(out, "NAT with Address and Port Dependent Filtering!") {
			t.Errorf("%s: %v\n%s", c.rule, err, tail(out))
		}
	}
}

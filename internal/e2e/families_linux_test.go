package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inNetwork runs a shell script with $BIN and $DIR in a network of its own, where it is root, and returns what it printed.
func inNetwork(t *testing.T, text string) string {
	t.Helper()
	own := func(host int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: host, Size: 1}} }
	command := func(name string, args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), name, args...)
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: own(os.Getuid()), GidMappings: own(os.Getgid()),
		}
		return c
	}
	program(t, "ip")
	if err := command("ip", "link", "set", "lo", "up").Run(); err != nil {
		t.Skipf("no namespaces here: %v", err)
	}
	c := command("sh", "-c", text)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), "BIN="+binary)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// A machine may have the loopback of one family only. The wildcards are reached there all the same, by every command.
func TestLoopbackOfOneFamily(t *testing.T) {
	for name, lack := range map[string]string{
		"IPv6 alone": "ip addr del 127.0.0.1/8 dev lo; ip -6 addr add 2001:db8::1/64 dev lo nodad; ip -6 route add default dev lo",
		"IPv4 alone": "ip -6 addr del ::1/128 dev lo; ip addr add 198.51.100.1/24 dev lo; ip route add default dev lo",
	} {
		t.Run(name, func(t *testing.T) {
			out := inNetwork(t, `set -e
ip link set lo up
`+lack+`
cat >test.toml <<END
[hooks]
listen = ":8083"
[redis]
enabled = true
listen = ":6379"
[admin]
listen = ":8084"
END
$BIN serve --config test.toml 2>log &
trap 'kill $! && wait $!' EXIT
for i in $(seq 200); do $BIN health --config test.toml 2>health && break; sleep 0.1; done
$BIN health --config test.toml || { cat log health; exit 1; }
$BIN nodes --config test.toml
$BIN doctor --config test.toml || true
`)
			for _, want := range []string{"no Nodes", "  webhooks ", "the webhooks refuse calls without the token", "TURN listeners answer on this machine", "the embedded Redis answers at"} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q", want)
				}
			}
			if strings.Contains(out, "\nfail ") {
				t.Error("not everything works")
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// Relay ports that this machine itself lets nothing through to are a failure of doctor, though allocations work.
func TestDoctorFindsFilteredRelayPorts(t *testing.T) {
	out := inNetwork(t, `set -e
ip link set lo up
ip rule add pref 1 ipproto udp dport 20000-24999 blackhole
ip rule add pref 100 lookup local
ip rule del pref 0
cat >test.toml <<END
[public]
ipv4 = "127.0.0.1"
[turn]
relay_ports = "20000-24999"
END
$BIN serve --config test.toml 2>log &
trap 'kill $! && wait $!' EXIT
for i in $(seq 200); do $BIN health --config test.toml 2>health && break; sleep 0.1; done
$BIN doctor --config test.toml || echo failed
`)
	if !strings.Contains(out, "do not arrive at the relay port 127.0.0.1:2") || !strings.Contains(out, "open the UDP ports 20000-24999 (turn.relay_ports)") || !strings.Contains(out, "\nfailed") {
		t.Error(out)
	}
}

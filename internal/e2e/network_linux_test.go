package e2e

import (
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// inOwnNetwork runs the test anew in a process with a network of its own, where it is root and has only loopback. It
// reports whether this is that process; where it is not, the test is over.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(binaryVariable) != "" {
		runs(t, "ip", "link", "set", "lo", "up")
		return true
	}
	program(t, "ip")
	own := func(host int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: host, Size: 1}} }
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: own(os.Getuid()), GidMappings: own(os.Getgid()),
	}
	probe := exec.Command("true")
	if probe.SysProcAttr = attr; probe.Run() != nil {
		t.Skip("no namespaces here")
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.timeout=5m")
	again.SysProcAttr = attr
	again.Env = append(os.Environ(), binaryVariable+"="+binary)
	if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func runs(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// An address that the machine gets while the program runs is its own from then on: no new permission leads there, and a
// channel that was bound before leads nowhere any more, though a listener of the program is behind it.
func TestAddressThatComes(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	s := serve(t)
	client := s.client(t, "udp", "alice")
	must(client.Allocate(patiently(t), nil))(t)
	_, port, _ := strings.Cut(s.admin, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	peer := netip.AddrPortFrom(netip.MustParseAddr("5.9.8.7"), uint16(n))
	if err := client.Bind(patiently(t), 0x4001, peer); err != nil {
		t.Fatalf("before the machine has the address: %v", err)
	}
	began := time.Now()
	runs(t, "ip", "addr", "add", "5.9.8.7/32", "dev", "lo")
	for end := began.Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if code, text := s.ask(t, "GET", "/api/allocations", ""); code == 200 && strings.Contains(text, `"channels":0`) {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the channel still leads there: %d %s", code, text)
		}
	}
	t.Logf("judged again after %s", time.Since(began).Round(time.Millisecond))
	if err := client.Permit(patiently(t), peer); turnclient.Code(err) != 403 {
		t.Errorf("a new permission: %v, want 403", err)
	}
}

//go:build !portable && (amd64 || arm64 || riscv64)

package turnsrv

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay/offload"
)

// alone runs the test in a process and a network namespace of its own, and reports whether this is that process. Where there
// are no rights for that, or the kernel cannot relay, it skips the test and says why.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "CROLANG_TURNSRV_ALONE"
	if os.Getenv(mark) == t.Name() {
		command(t, "ip link set lo up")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: programs in the kernel, network namespaces")
	}
	for name, of := range map[string]string{"ip": "iproute2", "ethtool": "ethtool"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s (Debian: apt install %s)", name, of)
		}
	}
	k, err := offload.New(offload.Config{Flows: 4})
	if err != nil {
		t.Skipf("needs a kernel that lets it: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	t.Parallel() // most of it is waiting
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v="+fmt.Sprint(testing.Verbose()), "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

func command(t testing.TB, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// outside is a network namespace at the other end of a veth pair, with a thread in it.
type outside struct {
	*testing.T
	work chan func()
}

const (
	inside = "198.18.0.2" // the server's address
	beyond = "198.18.0."  // where clients and peers have theirs: 1, and 11 to 31
)

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{t, make(chan func())}
	tid, fault := 0, make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		tid = unix.Gettid()
		fault <- err
		for f := range o.work {
			f()
		}
	}()
	if err := <-fault; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(o.work) })
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", "near").Run() }) // the namespace lingers
	command(t, fmt.Sprintf("ip link add near type veth peer name far netns %d", tid))
	command(t, "ip address add "+inside+"/24 dev near")
	command(t, "ip link set near up")
	o.in(func() {
		command(t, "ip link set lo up")
		command(t, "ip address add "+beyond+"1/24 dev far")
		for i := 11; i <= 31; i++ {
			command(t, fmt.Sprintf("ip address add %s%d/24 dev far", beyond, i))
		}
		command(t, "ip link set far up")
		command(t, "ethtool -K far tx off") // as from another machine, with checksums
	})
	return o
}

// in calls f in the namespace.
func (o *outside) in(f func()) {
	done := make(chan struct{})
	o.work <- func() { defer close(done); f() }
	<-done
}

func (o *outside) listen(t *testing.T, host int) (c *net.UDPConn, at netip.AddrPort) {
	t.Helper()
	o.in(func() { c, at = listenUDP(t, fmt.Sprintf("%s%d:0", beyond, host)) })
	return c, at
}

func (o *outside) dial(t *testing.T, s *testServer, transport, node string) (c *turnclient.Client) {
	t.Helper()
	o.in(func() { c = s.client(t, transport, s.plain, node) })
	return c
}

// startOffloaded begins a server that relays in the kernel, with clients and peers outside, and makes a call there until the
// kernel's way is trusted.
func startOffloaded(t *testing.T, edit func(*Config)) (*testServer, *outside) {
	t.Helper()
	o := newOutside(t)
	s := startServer(t, func(c *Config) {
		c.Listen, c.ListenTLS = []string{inside + ":0"}, nil
		c.Transports = []string{"udp", "tcp"}
		c.IPv4, c.IPv6 = Family{Bind: netip.MustParseAddr(inside)}, Family{}
		c.Peers = must(peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: []string{"198.18.0.0/24"}}))(t)
		c.Offload = OffloadRequire
		if edit != nil {
			edit(c)
		}
	})
	call := newTalk(t, s, o, "first", 11)
	eventually(t, "the way is trusted", func() bool {
		all := s.Offload().Proofs
		return len(all) == 1 && all[0].State == "trusted"
	})
	call.end()
	must(call.Refresh(within(t), 0))(t)
	return s, o
}

// talk is a client and a peer, each of which sends to the other all the time.
type talk struct {
	*turnclient.Client
	peer  *net.UDPConn
	at    netip.AddrPort
	relay netip.AddrPort
	end   func()
}

func newTalk(t *testing.T, s *testServer, o *outside, node string, host int) *talk {
	t.Helper()
	c := &talk{Client: o.dial(t, s, "udp", node)}
	c.peer, c.at = o.listen(t, host)
	c.relay = must(c.Allocate(within(t), nil))(t).Relayed
	if err := c.Bind(within(t), 0x4000, c.at); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for data := make([]byte, 100); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				_ = c.SendChannel(0x4000, data)
				_, _ = c.peer.WriteToUDPAddrPort(data, c.relay)
			}
		}
	}()
	ended := false
	c.end = func() {
		if !ended {
			ended = true
			close(stop)
			<-done
		}
	}
	t.Cleanup(c.end)
	return c
}

//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const served = "CROLANG_OFFLOAD_SERVES" // the peer of whoever asks a server in a process of its own

// process is a data plane with a Kernel in a process of its own, in this namespace. It gives whoever sends it STUN a relay with
// channel 0x4000 to the peer, and answers with how many datagrams the kernel has relayed so far.
type process struct {
	*exec.Cmd
	server netip.AddrPort
}

// serve is that process.
func serve(peer string) error {
	k, err := New(Config{Flows: 16})
	if err != nil {
		return err
	}
	k.lenient = true
	s := &answers{kernel: k, peer: netip.MustParseAddrPort(peer)}
	cfg := relay.Config{Handler: s, PortMin: 30000, PortMax: 30001, IPv4: relay.Family{Bind: address(4, 24, 2)}, Kernel: k}
	if s.plane, err = relay.New(cfg); err != nil {
		return err
	}
	at, err := s.plane.ListenUDP(netip.AddrPortFrom(address(4, 14, 2), 0))
	if err != nil {
		return err
	}
	fmt.Println(at)
	go func() { _ = k.Run(context.Background()) }()
	return s.plane.Run(context.Background())
}

type answers struct {
	kernel *Kernel
	plane  *relay.Plane
	peer   netip.AddrPort
	mu     sync.Mutex
	open   bool
}

func (a *answers) HandleSTUN(src relay.Source, _ []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open {
		r, err := a.plane.Open(src, relay.OpenOptions{Family: 4})
		if err == nil {
			err = r.Bind(0x4000, a.peer, relay.ScopeAny, nil)
		}
		if err != nil {
			fmt.Println(err)
		}
		a.open = true
	}
	src.Send(binary.BigEndian.AppendUint64(nil, a.kernel.Report().Taken))
}

// apart are a client and a peer, each in a namespace of its own.
func apart(t *testing.T) (c, p *endpoint) {
	t.Helper()
	clients, peers := newSpace(t), newSpace(t)
	joined(t, "c4", 14, clients)
	joined(t, "p4", 24, peers)
	return clients.endpoint(address(4, 14, 1)), peers.endpoint(address(4, 24, 1))
}

// newProcess starts one: this test once more, which is to call serve. It has the namespaces of this process, but for those of
// its own that are told (syscall.CLONE_NEWNS and so on).
func newProcess(t *testing.T, peer netip.AddrPort, own uintptr) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")}
	p.Env = append(os.Environ(), served+"="+peer.String())
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: own}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("it says nothing")
	}
	if p.server, err = netip.ParseAddrPort(lines.Text()); err != nil {
		t.Fatal(lines.Text())
	}
	return p
}

// taken asks how many datagrams the kernel has relayed so far.
func (p *process) taken(t *testing.T, c *endpoint) uint64 {
	t.Helper()
	for range 5 {
		c.to(p.server, binding(1))
		if b, _ := c.next(patience); len(b) == 8 {
			return binary.BigEndian.Uint64(b)
		}
	}
	t.Fatal("the process does not answer")
	return 0
}

// attached counts the programs for what comes in on an interface.
func attached(t *testing.T, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	q, err := link.QueryPrograms(link.QueryOptions{Target: i.Index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	return len(q.Programs)
}

// A process that hangs has the kernel relay nothing any more after a second; what came meanwhile the sockets relay when it goes
// on. With a process that dies, even by SIGKILL, its programs go.
func TestProcessStopsAndDies(t *testing.T) {
	if peer := os.Getenv(served); peer != "" {
		t.Fatal(serve(peer))
	}
	if !alone(t, true) {
		return
	}
	c, p := apart(t)
	s := newProcess(t, p.addr, 0)
	data := bytes.Repeat([]byte{1}, 100)
	arrives := func(within time.Duration) bool {
		c.to(s.server, framed(0x4000, data))
		b, _ := p.next(within)
		return b != nil
	}
	moved := func() {
		t.Helper()
		was := s.taken(t, c)
		await(t, "the kernel relays", func() bool { return arrives(patience) && s.taken(t, c) > was })
	}
	moved()
	if err := s.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "the kernel stops", func() bool { return !arrives(200 * time.Millisecond) })
	for range 5 {
		if arrives(50 * time.Millisecond) {
			t.Error("a datagram passed after that")
		}
	}
	if err := s.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if b, _ := p.next(patience); b == nil {
			t.Fatalf("%d of 6 datagrams came when the process went on", i)
		}
	}
	moved()
	if n := attached(t, "c4"); n != 1 {
		t.Fatalf("%d programs on the interface", n)
	}
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.Wait()
	if arrives(200 * time.Millisecond) {
		t.Error("a datagram passed without the process")
	}
	await(t, "the programs are gone", func() bool { return attached(t, "c4")+attached(t, "p4") == 0 })
}

// hideTypes has this process, which needs a mount namespace of its own, find no description of the kernel's types (BTF) anywhere
// where they are looked for, as with a kernel that was built without CONFIG_DEBUG_INFO_BTF.
func hideTypes() error {
	for _, folder := range []string{"/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/modules", "/usr/lib/debug"} {
		if err := unix.Mount("none", folder, "tmpfs", unix.MS_RDONLY, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("hide %s: %w", folder, err)
		}
	}
	if _, err := btf.LoadKernelSpec(); !errors.Is(err, btf.ErrNotSupported) {
		return fmt.Errorf("the kernel's types can still be found: %w", err)
	}
	return nil
}

// The program has nothing that would have to be fitted to the kernel's own types: where there is no BTF, it relays as well.
func TestWithoutBTF(t *testing.T) {
	if peer := os.Getenv(served); peer != "" {
		err := hideTypes()
		if err == nil {
			err = serve(peer)
		}
		fmt.Println(err) // for newProcess
		t.FailNow()
	}
	if !alone(t, true) {
		return
	}
	c, p := apart(t)
	s := newProcess(t, p.addr, syscall.CLONE_NEWNS)
	was, data := s.taken(t, c), random(100)
	await(t, "the kernel relays", func() bool {
		c.to(s.server, framed(0x4000, data))
		b, _ := p.next(patience)
		return bytes.Equal(b, data) && s.taken(t, c) > was
	})
}

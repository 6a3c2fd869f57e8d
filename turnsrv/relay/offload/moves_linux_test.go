//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Datagrams stay in order when their flow moves into the kernel and out again, and none is lost.
func TestOrder(t *testing.T) { families(t, testOrder) }

func testOrder(t *testing.T, w *world) {
	t.Helper()
	c, p := w.client(), w.far()
	if err := c.r.Permit(relay.Grant{Addr: p.addr.Addr(), Scope: relay.ScopeAny}); err != nil {
		t.Fatal(err)
	}
	c.bind(0x4000, p.addr, relay.ScopeAny)
	for _, v := range []way{c.up(0x4000, p), c.down(0x4000, p)} {
		const all = 3000
		v.pass(make([]byte, 200)) // what waits until a neighbour is known the system itself may send after what comes then
		begun := w.kernel.Report().Taken
		var sending sync.WaitGroup
		sending.Go(func() {
			data := make([]byte, 200)
			for i := range uint32(all) {
				switch i {
				case 1000, 2000: // out, since a limit has come; and in again
					w.SetBitsPerSecond(1 << 40)
				case 1500, 2500:
					w.SetBitsPerSecond(0)
				}
				binary.BigEndian.PutUint32(data, i)
				_, _ = v.from.WriteToUDPAddrPort(v.send(data), v.dst)
				time.Sleep(time.Duration(50+i%7*100) * time.Microsecond)
			}
		})
		for i := range uint32(all) {
			b, _ := v.to.next(patience)
			if b == nil {
				t.Fatalf("%d of %d are missing", all-i, all)
			}
			if got := binary.BigEndian.Uint32(b[len(b)-200:]); got != i {
				t.Fatalf("got number %d, want %d", got, i)
			}
		}
		sending.Wait()
		if took := w.kernel.Report().Taken - begun; took < 100 {
			t.Errorf("the kernel took %d of %d: %+v", took, all, w.kernel.Report())
		}
	}
}

// Where a client goes, its flows go: to peers, and between two clients.
func TestFlowsFollowTheirClient(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		d := w.client()
		c.bind(0x4001, d.r.Addr(), relay.ScopeAny)
		d.bind(0x4002, c.r.Addr(), relay.ScopeAny)
		ways := func() []way {
			return []way{c.up(0x4000, p), c.down(0x4000, p), c.over(0x4001, d, 0x4002), d.over(0x4002, c, 0x4001)}
		}
		for _, v := range ways() {
			w.moved(v)
		}
		former, entries := *c, w.entries()
		next, src := w.come()
		if err := c.r.Await(src); err != nil {
			t.Fatal(err)
		}
		former.down(0x4000, p).pass(random(50)) // it may still be there
		c.endpoint = next
		data := random(60)
		next.to(w.server, framed(0x4000, data))
		p.expect(c.r.Addr(), data)
		await(t, "the client is at its new address", func() bool { return c.r.Tuple().Client == next.addr })
		former.to(w.server, framed(0x4000, random(70))) // goes nowhere: what comes next at the peer is not that
		for _, v := range ways() {
			v.pass(random(80))
			w.moved(v)
		}
		if n := w.entries(); n != entries {
			t.Errorf("%d entries, before it went %d", n, entries)
		}
		if b, from := former.next(50 * time.Millisecond); b != nil {
			t.Errorf("%q from %v came to where the client was", b, from)
		}
	})
}

// A limit of bits per second takes every flow out of the kernel before its setter returns, and when it is lifted they come back.
func TestLimitTakesFlowsOut(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		c, p, d := w.client(), w.far(), w.client()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		c.bind(0x4001, d.r.Addr(), relay.ScopeAny)
		if got := w.Apart(); got[relay.OneWay] != 1 || got[relay.Taken] != 1 {
			t.Errorf("%v: want one channel without one back", got)
		}
		d.bind(0x4002, c.r.Addr(), relay.ScopeAny)
		for _, set := range []func(int64){w.SetBitsPerSecond, w.SetTotalBitsPerSecond} {
			w.moved(c.up(0x4000, p))
			w.moved(d.over(0x4002, c, 0x4001))
			if got := w.Apart(); got[relay.Taken] != 3 || got[relay.Limited] != 0 {
				t.Errorf("%v without a limit", got)
			}
			set(1 << 40)
			if n := w.entries(); n != 0 {
				t.Errorf("%d entries under a limit", n)
			}
			c.up(0x4000, p).pass([]byte("by the sockets"))
			c.bind(0x4000, p.addr, relay.ScopeAny)
			if n := w.entries(); n != 0 {
				t.Errorf("%d entries under a limit", n)
			}
			if got := w.Apart(); got[relay.Limited] != 3 {
				t.Errorf("%v under a limit", got)
			}
			set(0)
		}
		if n := w.entries(); n != 4 {
			t.Errorf("%d entries after the limits", n)
		}
		d.r.Close()
		if got := w.Apart(); got[relay.Taken] != 1 || got[relay.OneWay] != 1 {
			t.Errorf("%v: want one channel that leads nowhere now", got)
		}
	})
}

// What has run out, by the kernel's own clock, is left to the sockets; so is everything when user space is silent.
func TestExpiry(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		v := c.up(0x4000, p)
		w.moved(v)
		for slot, f := range w.kernel.flows {
			if f != nil {
				w.kernel.Extend(slot, 0)
			}
		}
		time.Sleep(20 * time.Millisecond) // the program's clock has ticks
		before := w.kernel.Report()
		v.pass([]byte("too late"))
		if r := w.kernel.Report(); r.Taken != before.Taken || r.Left[Expired] != before.Left[Expired]+1 {
			t.Errorf("before %+v, after %+v", before, r)
		}
	})
}

// bystander is a program of somebody else's (tcx) on an interface, which lets everything pass, until the test ends.
func bystander(t *testing.T, index int, at ebpf.AttachType) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: at})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return p
}

// Another program (tcx) on the interface stays, and sees what comes in first. An interface that goes takes its flows with it to the
// sockets, and one that comes gives them back.
func TestOthersAndChanges(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		name := fmt.Sprintf("c%d", w.family)
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		other := bystander(t, i.Index, ebpf.AttachTCXIngress)
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		w.moved(c.up(0x4000, p))
		q, err := link.QueryPrograms(link.QueryOptions{Target: i.Index, Attach: ebpf.AttachTCXIngress})
		if want := map[Way]int{TCX: 2, Across: 2, Native: 1}[w.way]; err != nil || len(q.Programs) != want {
			t.Fatalf("%+v, %v: want %d programs", q, err, want)
		}
		info, err := other.Info()
		if err != nil {
			t.Fatal(err)
		}
		if id, _ := info.ID(); q.Programs[0].ID != id {
			t.Error("the other program is not the first any more")
		}
		out := name
		if w.way.program() == TCX {
			out = fmt.Sprintf("p%d", w.family)
		}
		netspace.Run(t, "ip link set "+out+" down")
		await(t, "no entry for what has no route", func() bool { return w.entries() < 2 })
		netspace.Run(t, "ip link set "+out+" up")
		if w.family == 6 {
			netspace.Run(t, "ip address replace "+address(6, w.number(), 2).String()+"/64 dev "+out+" nodad") // it went with the link
		}
		await(t, "entries again", func() bool {
			if w.way != TCX { // the sockets are to ask who is there
				_, _ = c.WriteToUDPAddrPort(framed(0x4000, []byte("a")), w.server)
			}
			return w.entries() == 2
		})
		p.drain(50 * time.Millisecond) // of those just sent
		w.moved(c.up(0x4000, p))
	})
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(6 * patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// A TCP download over the interface gets every byte while the program comes, relays and goes.
func TestPassesTCPBy(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		a := net.TCPAddrFromAddrPort(netip.AddrPortFrom(address(w.family, 10+w.family, 1), 0))
		var l *net.TCPListener
		var err error
		w.clients.In(func() { l, err = net.ListenTCP("tcp", a) })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		stop := make(chan struct{})
		var sent, got atomic.Int64
		var running sync.WaitGroup
		running.Go(func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			for b := make([]byte, 64<<10); ; {
				select {
				case <-stop:
					return
				default:
				}
				n, err := c.Write(b)
				if sent.Add(int64(n)); err != nil {
					t.Errorf("the download broke off: %v", err)
					return
				}
			}
		})
		down, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer down.Close()
		running.Go(func() {
			for b := make([]byte, 64<<10); ; {
				n, err := down.Read(b)
				if got.Add(int64(n)); err != nil {
					return
				}
			}
		})
		goesOn := func() {
			t.Helper()
			want := got.Load() + 4<<20
			await(t, "the download goes on", func() bool { return got.Load() > want })
		}
		goesOn()
		c, p := w.client(), w.far()
		var sentOnce [][]byte
		for range 5 {
			c.bind(0x4000, p.addr, relay.ScopeAny)
			up, data := c.up(0x4000, p), random(100)
			sentOnce = append(sentOnce, data)
			// The download fills the queue of its interface, and then a datagram is lost before it comes to the server, or late.
			await(t, "the kernel relays", func() bool {
				before := w.kernel.Report().Taken
				up.from.to(up.dst, up.send(data))
				b, from := up.to.next(quick)
				same := func(data []byte) bool { return bytes.Equal(b, data) }
				if b != nil && (from != up.src || !slices.ContainsFunc(sentOnce, same)) {
					t.Errorf("%.40x came from %s", b, from)
				}
				return b != nil && w.kernel.Report().Taken > before
			})
			c.bind(0x4000, netip.AddrPortFrom(p.addr.Addr(), 9), relay.ScopeAny)
			goesOn()
		}
		w.kernel.mu.Lock()
		for i := range w.kernel.ports {
			w.kernel.giveUp(i, w.way, failure{error: errors.New("a test")})
		}
		w.kernel.mu.Unlock()
		goesOn()
		close(stop)
		running.Wait()
		if sent.Load() != got.Load() {
			t.Errorf("%d bytes of %d came", got.Load(), sent.Load())
		}
	})
}

// Without the rights there is an error that names them, and no more harm. That the verifier refuses a program is another matter,
// unless it may be for want of rights.
func TestSaysWhatIsMissing(t *testing.T) {
	if !alone(t) {
		return
	}
	const rights = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
	_, bad := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.LoadMem(asm.R0, asm.R1, 4096, asm.Word), asm.Return()}, License: "GPL",
	})
	if err := explain(bad); !errors.Is(bad, unix.EACCES) || strings.Contains(err.Error(), rights) {
		t.Errorf("of %v it says %v", bad, err)
	}
	runtime.LockOSThread() // and never unlocked: the thread has no rights any more
	header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	k, err := New(Config{})
	if err == nil || k != nil || !strings.HasSuffix(err.Error(), rights+"; this process lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON") || !errors.Is(err, unix.EPERM) {
		t.Errorf("got %v", err)
	}
	if err := explain(bad); !strings.Contains(err.Error(), rights) {
		t.Errorf("of %v it says %v", bad, err)
	}
}

func TestTooOld(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.0-54-cloud-amd64": true, "5.15.0": true, "6.5": true, "4.19.0+": true,
		"6.6.0": false, "6.12.95+deb12-cloud-amd64": false, "7.0-rc1": false, "unknown": false, "": false,
	} {
		if tooOld(release) != want {
			t.Errorf("%q: %v", release, !want)
		}
	}
}

//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// What is there for what an interface sends is not skipped, and flows go across only where there is another network namespace to
// go to. What changes is noticed.
func TestAcrossSkipsNothing(t *testing.T) {
	each(t, []Way{auto}, func(t *testing.T, w *world) {
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		v := c.up(0x4000, p)
		name := fmt.Sprintf("c%d", w.family)
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		tc := func(line string) func() {
			return func() { netspace.Run(t, fmt.Sprintf("tc qdisc %s dev %s %s", line[:3], name, line[4:])) }
		}
		takes := func(want Way) {
			t.Helper()
			await(t, want.String(), func() bool {
				w.kernel.follow(false) // as happens every few seconds
				w.kernel.mu.Lock()
				defer w.kernel.mu.Unlock()
				for _, f := range w.kernel.flows {
					if f != nil && f.in.Channel != 0 {
						return f.placed && Way(f.value.Way) == want
					}
				}
				return false
			})
			w.moved(v)
		}
		takes(Across)
		for what, change := range map[string]struct {
			add, del func()
			want     Way
		}{
			"a queue":              {tc("add root pfifo"), tc("del root"), TCX},
			"filters":              {tc("add clsact"), tc("del clsact"), TCX},
			"filters for incoming": {tc("add ingress"), tc("del ingress"), Across},
		} {
			t.Log(what)
			change.add()
			takes(change.want)
			change.del()
			takes(Across)
		}
		bystander(t, i.Index, ebpf.AttachTCXEgress)
		takes(TCX)
	})
}

// The other end of a pair within one namespace is not across anything: the kernel would drop what is sent there.
func TestAcrossLeadsElsewhere(t *testing.T) {
	if !alone(t) {
		return
	}
	away := newSpace(t)
	joined(t, "x0", 40, away)
	netspace.Run(t, "ip link add y0 type veth peer name y1")
	netspace.Run(t, "ip link set y0 up")
	netspace.Run(t, "ip link set y1 up")
	k, err := New(Config{Flows: 16})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for name, want := range map[string]bool{"x0": true, "y0": false, "y1": false, "lo": false} {
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		k.mu.Lock()
		if got := k.crosses(i.Index); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		k.mu.Unlock()
	}
	if k.mu.Lock(); k.crosses(1 << 20) {
		t.Error("an interface that is not there")
	}
	k.mu.Unlock()
}

// signs has the other end of an interface drop what XDP there has not signed: that is skipped by what comes across.
func signs(w *world, name string) {
	w.Helper()
	const meta, data, end = asm.R2, asm.R3, asm.R4
	sign, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R2, -4),
		asm.FnXdpAdjustMeta.Call(),
		asm.LoadMem(meta, asm.R6, 8, asm.Word), asm.LoadMem(data, asm.R6, 0, asm.Word), // xdp_md.data_meta, data
		asm.Mov.Reg(end, meta), asm.Add.Imm(end, 4), asm.JGT.Reg(end, data, "pass"),
		asm.StoreImm(meta, 0, 7, asm.Word),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"), asm.Return(),
	}})
	if err != nil {
		w.Fatal(err)
	}
	check, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(meta, asm.R1, 140, asm.Word), asm.LoadMem(data, asm.R1, 76, asm.Word), // __sk_buff.data_meta, data
		asm.Mov.Reg(end, meta), asm.Add.Imm(end, 4), asm.JGT.Reg(end, data, "drop"),
		asm.LoadMem(asm.R5, meta, 0, asm.Word), asm.JNE.Imm(asm.R5, 7, "drop"),
		asm.Mov.Imm(asm.R0, -1), asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("drop"), asm.Return(),
	}})
	if err != nil {
		w.Fatal(err)
	}
	w.clients.In(func() {
		i, err := net.InterfaceByName(name + "x")
		if err != nil {
			w.Fatal(err)
		}
		x, err := link.AttachXDP(link.XDPOptions{Program: sign, Interface: i.Index, Flags: link.XDPDriverMode})
		if err != nil {
			w.Fatal(err)
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: check, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _, _, _, _ = x.Close(), l.Close(), sign.Close(), check.Close() })
	})
}

// slow has the other ends of a world's interfaces take in what comes there late, time and again, while it lasts.
func (w *world) slow() (stop func()) {
	w.Helper()
	const processor = 0
	var only unix.CPUSet
	only.Set(processor)
	for name, s := range map[string]*space{fmt.Sprintf("c%dx", w.family): w.clients, fmt.Sprintf("p%dx", w.family): w.peer} {
		s.Run("ethtool -K " + name + " gro on rx-udp-gro-forwarding on") // without the second, the receive queue is skipped
		s.In(func() {                                                    // what is in /sys is of the namespace that mounted it
			line := "mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/" + name + "/threaded"
			if out, err := exec.Command("unshare", "-m", "sh", "-c", line).CombinedOutput(); err != nil {
				w.Fatalf("%v: %s", err, out)
			}
		})
		for _, pid := range kernelThreads(w, "napi/"+name+"-") {
			if err := unix.SchedSetaffinity(pid, &only); err != nil {
				w.Fatal(err)
			}
		}
	}
	ended := make(chan struct{})
	var spinning sync.WaitGroup
	spinning.Go(func() {
		runtime.LockOSThread() // and ends with it
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			w.Error(err)
			return
		}
		for begun := time.Now(); ; {
			select {
			case <-ended:
				return
			default:
			}
			if time.Since(begun) > 3*time.Millisecond {
				time.Sleep(2 * time.Millisecond)
				begun = time.Now()
			}
		}
	})
	return func() {
		close(ended)
		spinning.Wait()
	}
}

// kernelThreads are those whose name begins so.
func kernelThreads(t testing.TB, prefix string) (all []int) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		if name, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(name), prefix) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			all = append(all, pid)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no thread is called %s…", prefix)
	}
	return all
}

// What goes across does not overtake what the sockets have sent to the other end before, and nothing has taken in there yet.
func TestOrderAcross(t *testing.T) {
	each(t, []Way{Across}, func(t *testing.T, w *world) {
		stop := w.slow()
		defer stop()
		testOrder(t, w)
	})
}

//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

var datagrams = flag.Int("datagrams", 20000, "how many random datagrams the program is given")

// The program says of any frame what the model says: random ones of known flows, padded, spoiled, cut off, garbage.
func TestProgramAgainstModel(t *testing.T) {
	if !alone(t) {
		return
	}
	hands := newSpace(t)
	joined(t, "m0", 40, hands)
	hands.Run("ethtool -K m0x gro on")
	for _, v := range []Way{TCX, Across, Native, Generic} {
		t.Run(v.String(), func(t *testing.T) { testAgainstModel(t, v) })
	}
}

// program runs the program of a way with a frame. It returns what the frame is then, and whether it leaves or goes on to the
// sockets.
func (k *Kernel) program(v Way, frame []byte, index int) (out []byte, leaves, goesOn bool, err error) {
	if v.program() == TCX {
		ret, out, err := k.objects.Turn.Test(frame)
		return out, ret == 7, ret == ^uint32(0), err // TCX_REDIRECT, TCX_NEXT
	}
	ctx := struct{ data, end, meta, ingress, queue, egress uint32 }{end: uint32(len(frame)), ingress: uint32(index)}
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64), Context: ctx}
	ret, err := k.objects.TurnXdp.Run(&o)
	return o.DataOut, ret == 4, ret == 2, err // XDP_REDIRECT, XDP_PASS
}

func testAgainstModel(t *testing.T, v Way) {
	k, err := New(Config{Flows: 64, Ways: []Way{v}})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	k.lenient = true
	if _, err := k.refresh(); err != nil {
		t.Fatal(err)
	}
	i, err := net.InterfaceByName("m0")
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range []int{4, 6} {
		netspace.Run(t, fmt.Sprintf("ip neighbour replace %s lladdr 02:03:04:05:06:07 dev m0", address(family, 40, 1)))
	}
	addressed := func(b []byte) []byte { // to this interface, as it leaves from there
		if v.program() != TCX {
			copy(b, i.HardwareAddr)
		}
		return b
	}
	mine := addressed(make([]byte, 6))
	m := model{}
	var legs []relay.Leg
	enter := func(in, out relay.Leg) {
		slot, ok := k.Enter(in, out, time.Hour)
		if !ok || !k.flows[slot].placed {
			t.Fatalf("the table does not take %v", in)
		}
		k.table.records[slot].State.Taken = 1
		m[in] = out
		legs = append(legs, in)
	}
	for _, family := range []int{4, 6} {
		far, near := address(family, 40, 1), address(family, 40, 2)
		at := func(a netip.Addr, port int) netip.AddrPort { return netip.AddrPortFrom(a, uint16(port)) }
		client, server, local, peer := at(far, 5000), at(near, 3478), at(near, 50000), at(far, 6000)
		enter(relay.Leg{From: client, To: server, Channel: 0x4000}, relay.Leg{From: local, To: peer})
		enter(relay.Leg{From: peer, To: local}, relay.Leg{From: server, To: client, Channel: 0x4000})
		enter(relay.Leg{From: client, To: server, Channel: 0x7fff}, relay.Leg{From: server, To: at(far, 5001), Channel: 0x4fff})
	}
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	taken, failed := 0, 0
	for range *datagrams {
		k.beat()
		in := legs[r.IntN(len(legs))]
		f := frame{in.From, in.To, byte(r.Uint32()), byte(r.Uint32()), make([]byte, r.IntN(1440))}
		for j := range f.data {
			f.data[j] = byte(r.Uint32())
		}
		if in.Channel != 0 {
			f.data = framed(in.Channel, f.data)
			f.data = append(f.data, make([]byte, r.IntN(5))...)
			if r.IntN(2) == 0 {
				copy(f.data[len(f.data)-min(len(f.data), 3):], []byte{1, 2, 3})
			}
		}
		b := addressed(f.bytes())
		if r.IntN(3) == 0 {
			b = spoil(r, b)
		}
		before := b
		got, leaves, goesOn, err := k.program(v, bytes.Clone(b), i.Index)
		if err != nil {
			continue // the kernel takes no frame as short as that, or of that kind
		}
		for s := range k.table.records {
			k.table.records[s].State.Taken = 1
		}
		parsed, good, none, ok := parseFrame(b, mine, 1)
		var want frame
		if ok {
			want, ok = m.relay(parsed, 1500)
		}
		if !ok {
			if !goesOn || !bytes.Equal(got, before) {
				t.Fatalf("%x: %x is left; the sockets should have had it as it was", b, got)
			}
			continue
		}
		taken++
		if goesOn { // by chance the checksum looked like one that is left to the interface
			failed++
			continue
		}
		station := mine
		if v != TCX {
			station = []byte{2, 3, 4, 5, 6, 7}
		}
		out, right, zero, ok := parseFrame(got, station, 0)
		if !leaves || !ok || right != good && !none || zero != none || v != TCX && !bytes.Equal(got[6:12], i.HardwareAddr) {
			t.Fatalf("%x: leaves %v, %x, checksum %v %v, of the original %v %v", b, leaves, got, right, zero, good, none)
		}
		if out.from != want.from || out.to != want.to || out.tos != want.tos || out.ttl != want.ttl || !bytes.Equal(out.data, want.data) {
			t.Fatalf("%x\nleaves as %+v\nwant      %+v", b, out, want)
		}
	}
	t.Logf("%d datagrams, %d taken, %d passed by chance", *datagrams, taken, failed)
	if taken < *datagrams/4 || failed > 2+taken/5000 {
		t.Errorf("%d of %d were taken, %d of them only by the model: %+v", taken, *datagrams, failed, k.Report())
	}
}

// The program in the repository is what its source says.
func TestProgramIsCompiled(t *testing.T) {
	clang, err := exec.LookPath("clang-14")
	if err != nil {
		t.Skip("needs clang-14 (Debian: apt install clang-14 llvm libbpf-dev)")
	}
	dir := t.TempDir()
	line, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	_, flags, _ := strings.Cut(string(line), `-cflags "`)
	flags, _, _ = strings.Cut(flags, `"`)
	args := append(strings.Fields(flags), "-target", "bpfel", "-g", "-c", "bpf/relay.c", "-o", filepath.Join(dir, "relay.o"))
	if out, err := exec.Command(clang, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := func(file string) string {
		sections := []string{"-O", "binary"}
		var all bytes.Buffer
		for _, s := range []string{"tcx/ingress", "xdp", ".text", ".rodata", "license"} {
			out := filepath.Join(dir, "section")
			args := append(append([]string{}, sections...), "--only-section="+s, file, out)
			if b, err := exec.Command("llvm-objcopy-14", args...).CombinedOutput(); err != nil {
				t.Skipf("needs llvm-objcopy-14: %v %s", err, b)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		return all.String()
	}
	if text(filepath.Join(dir, "relay.o")) != text("program_bpfel.o") {
		t.Error("program_bpfel.o is not what bpf/relay.c says: go generate ./turnsrv/relay/offload")
	}
}

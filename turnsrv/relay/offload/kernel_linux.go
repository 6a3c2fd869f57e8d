//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const (
	defaultFlows = 32768
	maxCells     = 4 << 20 // 64 MB
	// least6 is what every path of IPv6 takes, in bytes (RFC 8200 §5). What is longer goes by the sockets, which are told how
	// much their path takes, and send fragments.
	least6 = 1280
	// queued is the program's: how long a datagram may be on its way to its socket, in nanoseconds.
	queued = 20000
)

// Kernel is the program and its table. It implements [relay.Kernel], and may be used from any goroutine. Make it with [New],
// [Kernel.Run] it, and [Kernel.Close] it in the end.
type Kernel struct {
	log     *slog.Logger
	objects programObjects
	router  *router
	mapped  [][]byte
	cells   []programCell // by CPU and slot
	states  []programState
	cpus    []programCpu
	alive   *uint64

	mu     sync.Mutex
	closed bool
	net    network
	links  map[int]link.Link // by the index of their interface
	failed map[int]failure
	free   []int
	flows  []*flow // by slot
	byKey  map[programKey]*flow
	full   bool // it has been said that the table is

	proofs  map[passage]*proof
	pairs   []*pair // under watch
	cursor  int     // the slot that was looked at last for more
	lenient bool    // tests: every way is trusted from the beginning
}

// failure is why an interface is left to the sockets.
type failure struct {
	error
	until uint64 // 0: until it changes
}

// flow is one direction of a channel.
type flow struct {
	slot    int
	in, out relay.Leg
	back    *flow  // that brings the answers, if there is one
	expires uint64 // of the monotonic clock, in nanoseconds
	key     programKey
	value   programFlow // as it is in the table
	placed  bool        // it is in the table

	proof   *proof // of how it passes
	held    bool   // on the sockets, by the program's own table
	chosen  bool   // it tries the way
	apart   bool   // it fell silent on a trusted way, and is held until retry
	watched bool   // it is or was
	retry   uint64 // when it may try again
	strikes int    // how often it fell silent
}

// New loads the program. It attaches it to interfaces as flows come. The error says what is missing.
func New(cfg Config) (*Kernel, error) {
	k := &Kernel{log: cfg.Logger, links: map[int]link.Link{}, failed: map[int]failure{}, byKey: map[programKey]*flow{}, proofs: map[passage]*proof{}}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	n := cfg.Flows
	if n <= 0 {
		n = defaultFlows
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count the processors: %w", err)
	}
	n = min(n, maxCells/cpus)
	err = k.load(n, cpus)
	for _, f := range []func() error{k.refresh, k.try} {
		if err == nil {
			err = f()
		}
	}
	if err != nil {
		return nil, errors.Join(explain(err), k.Close())
	}
	k.flows = make([]*flow, n)
	for i := range n {
		k.free = append(k.free, n-1-i)
	}
	k.beat()
	return k, nil
}

// explain adds what may be missing.
func explain(err error) error {
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("relaying in the kernel needs the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: %w", err)
	}
	return err
}

func (k *Kernel) load(slots, cpus int) error {
	spec, err := loadProgram()
	if err != nil {
		return err
	}
	for name, n := range map[string]int{programMapFlows: slots, programMapStates: slots, programMapCells: slots * cpus, programMapCpus: cpus} {
		spec.Maps[name].MaxEntries = uint32(n)
	}
	if err := spec.Variables[programVarSlots].Set(uint32(slots)); err != nil {
		return err
	}
	if err := spec.LoadAndAssign(&k.objects, nil); err != nil {
		return fmt.Errorf("load the program: %w", err)
	}
	var alive []uint64
	if k.router, err = newRouter(); err == nil {
		k.cells, err = mapped[programCell](k, k.objects.Cells)
	}
	if err == nil {
		k.states, err = mapped[programState](k, k.objects.States)
	}
	if err == nil {
		k.cpus, err = mapped[programCpu](k, k.objects.Cpus)
	}
	if err == nil {
		alive, err = mapped[uint64](k, k.objects.Alive)
	}
	if err == nil {
		k.alive = &alive[0]
	}
	return err
}

// mapped maps an array of the program's into memory, where both sides read and write it.
func mapped[T any](k *Kernel, m *ebpf.Map) ([]T, error) {
	n := int(m.MaxEntries())
	size := (n*int(unsafe.Sizeof(*new(T))) + unix.Getpagesize() - 1) &^ (unix.Getpagesize() - 1)
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the program's memory: %w", err)
	}
	k.mapped = append(k.mapped, b)
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n), nil
}

// try finds out whether the program can be attached, on the first interface that there is, and takes it off again.
func (k *Kernel) try() error {
	for _, i := range k.net.byIndex {
		if ethernet(i) && i.Flags&net.FlagUp != 0 {
			l, err := k.attachTo(i.Index)
			if err != nil {
				return err
			}
			return l.Close()
		}
	}
	return nil
}

// attachTo attaches the program behind those that are there already. They see what comes in first.
func (k *Kernel) attachTo(index int) (link.Link, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: k.objects.Turn, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
	if err != nil {
		return nil, fmt.Errorf("attach the program: %w", err)
	}
	return l, nil
}

// Close detaches the program and frees everything. What it relayed is lost: relays leave first.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	var errs []error
	for _, l := range k.links {
		errs = append(errs, l.Close())
	}
	for _, b := range k.mapped {
		errs = append(errs, unix.Munmap(b))
	}
	if k.router != nil {
		errs = append(errs, k.router.close())
	}
	if k.objects.Turn != nil {
		errs = append(errs, k.objects.Close())
	}
	return errors.Join(errs...)
}

// now is the kernel's clock, in nanoseconds.
func now() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}

// attach attaches the program to an interface, unless it is there or could not be.
func (k *Kernel) attach(index int) error {
	if _, ok := k.links[index]; ok {
		return nil
	}
	if f, ok := k.failed[index]; ok {
		return f
	}
	i, ok := k.net.byIndex[index]
	if !ok || !ethernet(i) {
		return errNoRoute
	}
	l, err := k.attachTo(index)
	if err != nil {
		k.failed[index] = failure{error: err}
		k.log.Warn("the kernel does not relay what comes in on this interface; the sockets do", "interface", i.Name, "error", err)
		return err
	}
	k.links[index] = l
	k.log.Info("the kernel can relay what comes in on this interface, once flows were seen to live on there", "interface", i.Name, "mode", "tcx")
	return nil
}

// Report says what has been done so far.
func (k *Kernel) Report() Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := Report{Mode: "tcx", Failed: map[string]string{}}
	if k.closed {
		return out
	}
	for i := range k.links {
		out.Interfaces = append(out.Interfaces, k.net.byIndex[i].Name)
	}
	slices.Sort(out.Interfaces)
	for i, err := range k.failed {
		out.Failed[k.net.byIndex[i].Name] = err.Error()
	}
	out.Proofs = k.report()
	out.Flows = len(k.flows) - len(k.free)
	for i := range k.cpus {
		c := &k.cpus[i].Causes
		out.Taken += atomic.LoadUint64(&c[0])
		for j := range out.Left {
			out.Left[j] += atomic.LoadUint64(&c[1+j])
		}
	}
	return out
}

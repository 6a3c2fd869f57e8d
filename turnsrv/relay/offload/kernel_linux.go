//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const (
	defaultFlows = 32768
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
	news    *os.File // of neighbours
	ways    []Way    // in the order in which they are taken
	forced  bool     // they are the configuration's
	mapped  [][]byte
	table   table

	mu     sync.Mutex
	closed bool
	net    network
	ports  map[int]*port // by the index of their interface
	near   map[hop]*neighbour
	across map[int]bool // by the index of an interface: whether flows that leave there may go across
	free   []int
	flows  []*flow // by slot
	byKey  map[programKey]*flow
	full   bool // it has been said that the table is

	proofs  map[passage]*proof
	pairs   []*pair       // under watch
	look    roster        // that are to be looked at, whether they should be: all that are not watched, or are apart
	steady  roster        // of those, the ones that moved long ago
	looked  uint64        // when look was, by the clock of now
	review  int           // the slot of the flow that follow looked at last
	wake    chan struct{} // has room for one; filled when there is a first flow
	stirred bool          // there may be flows to settle, though nothing more was left to the sockets
	wasLeft uint64        // how many datagrams had been, when that was looked at last
	lenient bool          // tests: every way is trusted from the beginning
}

// flow is one direction of a channel.
type flow struct {
	slot    int
	in, out relay.Leg
	back    *flow  // that brings the answers, if there is one
	expires uint64 // of the monotonic clock, in nanoseconds
	key     programKey
	pseudo  uint16 // as in value
	change  uint16
	value   programFlow // as it is in the table
	placed  bool        // it is in the table
	route   route       // as it was placed
	near    *neighbour  // the next hop, where XDP may take the flow, or it may go across

	proof   *proof // of how it passes
	held    bool   // on the sockets, by the program's own table
	chosen  bool   // it tries the way
	apart   bool   // it fell silent on a trusted way, and is held until retry
	watched bool   // it is or was
	listed  bool   // in Kernel.look or Kernel.steady
	retry   uint64 // when it may try again
	strikes int    // how often it fell silent
}

// New loads the program. It attaches it to interfaces as flows come. The error says what is missing.
func New(cfg Config) (*Kernel, error) {
	k := &Kernel{log: cfg.Logger, ports: map[int]*port{}, near: map[hop]*neighbour{}, across: map[int]bool{}, byKey: map[programKey]*flow{}, proofs: map[passage]*proof{}, wake: make(chan struct{}, 1), ways: cfg.Ways, forced: len(cfg.Ways) > 0}
	if !k.forced {
		k.ways = []Way{Across, TCX, Native} // on a veth, the only one of native XDP, tcx costs no more, and TCP keeps its long segments
	}
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
	n = min(n, slotMask-1) // an entry of the table names a slot in so many bits
	if err = k.load(n, cpus); err == nil {
		_, err = k.refresh()
	}
	if err == nil {
		err = k.try()
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
	case refused(err):
		var n unix.Utsname
		_ = unix.Uname(&n) // without a release it is not too old
		if release := unix.ByteSliceToString(n.Release[:]); tooOld(release) {
			return fmt.Errorf("%w, and this is %s", ErrUnsupported, release) // its verifier says nothing of use
		}
		return err
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		if missing := lacking(); len(missing) > 0 {
			return &rightsError{missing, err}
		}
		return fmt.Errorf("relaying in the kernel needs the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and the system call bpf: %w", err)
	}
	return err
}

// rightsError is an error for want of capabilities. What the kernel says of it misleads: of limits of memory, or of the program.
type rightsError struct {
	missing []string
	err     error
}

func (e *rightsError) Error() string {
	return "relaying in the kernel needs the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; this process lacks " + strings.Join(e.missing, ", ")
}

func (e *rightsError) Unwrap() error { return e.err }

// lacking is what this thread has none of, of the capabilities that are needed. CAP_SYS_ADMIN stands for two of them.
func lacking() (missing []string) {
	header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if unix.Capget(&header, &data[0]) != nil {
		return nil
	}
	has := func(n int) bool { return data[n/32].Effective&(1<<(n%32)) != 0 }
	for _, c := range []struct {
		n    int
		name string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if !has(c.n) && (c.n == unix.CAP_NET_ADMIN || !has(unix.CAP_SYS_ADMIN)) {
			missing = append(missing, c.name)
		}
	}
	return missing
}

// tooOld reports whether a release of Linux is before 6.6.
func tooOld(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major < 6 || major == 6 && minor < 6)
}

// refused reports whether the verifier does not take the program, whatever the rights of this thread. It is asked once the other
// two have been found to be there, and takes less of those without CAP_PERFMON.
func refused(err error) bool {
	verdict := (*ebpf.VerifierError)(nil)
	return errors.As(err, &verdict) && !slices.Contains(lacking(), "CAP_PERFMON")
}

func (k *Kernel) load(slots, cpus int) error {
	spec, err := loadProgram()
	if err != nil {
		return err
	}
	for name, n := range map[string]int{programMapRecords: slots, programMapBuckets: bucketsFor(slots), programMapCpus: cpus} {
		spec.Maps[name].MaxEntries = uint32(n)
	}
	if err := spec.LoadAndAssign(&k.objects, nil); err != nil {
		return fmt.Errorf("load the program: %w", err)
	}
	if k.router, err = newRouter(); err == nil {
		k.news, err = openNews()
	}
	if err == nil {
		k.table.records, err = mapped[programRecord](k, k.objects.Records)
	}
	if err == nil {
		k.table.buckets, err = mapped[programBucket](k, k.objects.Buckets)
	}
	if err == nil {
		k.table.cpus, err = mapped[programCpu](k, k.objects.Cpus)
	}
	if err == nil {
		k.table.begin()
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

// Close detaches the program and frees everything. What it relayed is lost: relays leave first.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	var errs []error
	for _, p := range k.ports {
		errs = append(errs, p.close())
	}
	for _, b := range k.mapped {
		errs = append(errs, unix.Munmap(b))
	}
	if k.news != nil {
		errs = append(errs, k.news.Close())
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

// Report says what has been done so far.
func (k *Kernel) Report() Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out Report
	if k.closed {
		return out
	}
	for i, p := range k.ports {
		out.Interfaces = append(out.Interfaces, p.report(k.net.byIndex[i].Name))
	}
	slices.SortFunc(out.Interfaces, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	out.Proofs = k.report()
	out.Flows = len(k.flows) - len(k.free)
	for _, f := range k.flows {
		if f != nil && !f.placed {
			out.Waiting++
		}
	}
	for i := range k.table.cpus {
		c := &k.table.cpus[i].Causes
		out.Taken += atomic.LoadUint64(&c[0])
		for j := range out.Left {
			out.Left[j] += atomic.LoadUint64(&c[1+j])
		}
	}
	return out
}

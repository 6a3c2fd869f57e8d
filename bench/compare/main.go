// Compare measures this repository's TURN server against coturn on this machine, prints the table and writes
// docs/benchmarks.md and the figures in README.md. It needs Linux, Go, and coturn's turnserver in PATH (Debian: apt
// install coturn); for what it measures across a network interface also root, ip and ethtool.
//
//	go run ./bench/compare            all of it, some forty minutes
//	go run ./bench/compare -quick     one short repetition, nothing written
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the command line.
type options struct {
	pace          pace
	rows          string
	kernel        bool
	binary, peer  string
	write, strict bool
	document      string
	readme        string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // an error is one line
	quick := fs.Bool("quick", false, "one short repetition; the files are not written")
	fs.IntVar(&o.pace.repeat, "repeat", 5, "repetitions of every row")
	fs.DurationVar(&o.pace.duration, "duration", 5*time.Second, "of one measurement")
	fs.DurationVar(&o.pace.warmup, "warmup", time.Second, "traffic before a measurement")
	fs.BoolVar(&o.kernel, "kernel", false, "measure relaying in the kernel instead, and write docs/benchmarks-kernel.md (root)")
	fs.StringVar(&o.rows, "rows", "", "only rows whose name contains one of these `words`, comma-separated; the files are not written")
	fs.StringVar(&o.binary, "binary", "", "crolang-aio `program` to measure; default: built from this repository")
	fs.StringVar(&o.peer, "coturn", "turnserver", "coturn `program` to compare with")
	fs.StringVar(&o.document, "document", "", "`file` to write, relative to the repository; default: docs/benchmarks.md, with -kernel docs/benchmarks-kernel.md")
	fs.StringVar(&o.readme, "readme", "README.md", "`file` with the block between "+socketMarks.begin+" and "+socketMarks.end+", or those of the kernel")
	noWrite := fs.Bool("no-write", false, "do not write the files")
	fs.BoolVar(&o.strict, "strict", false, "exit with 1 where a figure misses what it must reach")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fs.SetOutput(stderr)
		fs.Usage()
		return o, err
	} else if err != nil {
		return o, fmt.Errorf("%w; compare -help lists the flags", err)
	}
	if *quick {
		o.pace = pace{repeat: 1, duration: time.Second, warmup: 300 * time.Millisecond}
	}
	if o.document == "" {
		o.document = "docs/benchmarks.md"
		if o.kernel {
			o.document = "docs/benchmarks-kernel.md"
		}
	}
	o.write = !*quick && !*noWrite && o.rows == ""
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.pace.repeat < 1 || o.pace.repeat > 100:
		return o, fmt.Errorf("-repeat %d: 1 to 100", o.pace.repeat)
	case o.pace.duration < 100*time.Millisecond || o.pace.duration > 10*time.Minute:
		return o, fmt.Errorf("-duration %v: 100ms to 10m", o.pace.duration)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "compare:", err)
		return 2
	}
	misses, err := compare(ctx, o, stdout, stderr)
	if ctx.Err() != nil {
		err = errors.New("interrupted; nothing was written")
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "compare:", err)
		return 1
	}
	if misses > 0 && o.strict {
		return 1
	}
	return 0
}

func compare(ctx context.Context, o options, stdout, stderr io.Writer) (misses int, err error) {
	picked, start, err := chosen(o.rows, o.kernel)
	if err != nil {
		return 0, err
	}
	peer, err := exec.LookPath(o.peer)
	if err != nil {
		return 0, fmt.Errorf("coturn is missing (Debian: apt install coturn): %w", err)
	}
	dir, err := os.MkdirTemp("", "crolang-aio-bench-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	us, err := servers.Build(ctx, dir, o.binary)
	if err != nil {
		return 0, err
	}
	low, err := buildFloor(ctx, us.Root, dir)
	if err != nil {
		return 0, err
	}
	var secret [24]byte
	_, _ = rand.Read(secret[:])
	c := &comparison{
		ours: us, peer: servers.Coturn{Path: peer}, floor: low, dir: dir, secret: hex.EncodeToString(secret[:]),
		pace: o.pace, rows: picked, start: start, progress: stderr,
	}
	m, err := describe(ctx)
	if err != nil {
		return 0, err
	}
	if m.busy >= busyLimit {
		c.say("note: other processes use %.1f of %d cores: the figures will be noisy", m.busy, m.cores)
	}
	remove, err := c.connect(ctx)
	if err != nil {
		return 0, err
	}
	got, err := c.measure(ctx)
	if err = errors.Join(err, remove()); err != nil {
		return 0, err
	}
	r := report{
		near: c.outcomes(got, false), across: c.outcomes(got, true), kernel: c.inKernel(got),
		machine: m, pace: o.pace, ours: us.Version(ctx), coturn: c.peer.Version(ctx),
	}
	if _, err := io.WriteString(stdout, r.text()); err != nil {
		return 0, err
	}
	if o.write {
		err = r.save(filepath.Join(us.Root, o.document), filepath.Join(us.Root, o.readme))
	}
	return r.misses(), err
}

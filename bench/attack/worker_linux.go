package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// workerWord, as the only argument, makes this program an attacker: it is a process of its own, with descriptors of its own.
const workerWord = "worker"

// worker is what an attacker is told.
type worker struct {
	Kind    string
	To      string
	Rate    int    // in a second
	Sources int    // of a crowd
	Says    string // by a crowd on each connection: nothing, "binding" or "hello"
	Secret  string // of which misuse makes its credential
}

// work attacks until the standard input ends or ctx does, and prints how often it did it.
func work(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d := json.NewDecoder(in)
	var w worker
	if err := d.Decode(&w); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	to, err := netip.ParseAddrPort(w.To)
	if err != nil {
		return err
	}
	n := 0
	switch w.Kind {
	case "crowd":
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		c := crowd{to: to, rate: w.Rate, sources: w.Sources, keep: int(min(limit.Cur, 16_000)) - 100}
		if c.says, err = words(w.Says); err != nil {
			return err
		}
		err, n = c.run(ctx), c.opened
	case "hellos":
		h := hellos{to: net.UDPAddrFromAddrPort(to), rate: w.Rate}
		err, n = h.run(ctx), h.sent
	case "misuse":
		m := misuse{to: w.To, secret: w.Secret, rate: w.Rate}
		err, n = m.run(ctx), int(m.did.Load())
	default:
		err = fmt.Errorf("no such attack: %q", w.Kind)
	}
	_, printed := fmt.Fprintln(out, n)
	return errors.Join(err, printed)
}

// begin starts attackers. The returned function stops them and tells what they did together.
func begin(ctx context.Context, all []worker, to, secret string) (stop func() float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var ends []func() float64
	stop = func() (sum float64) {
		var mu sync.Mutex
		var ending sync.WaitGroup
		for _, end := range ends {
			ending.Go(func() {
				n := end()
				mu.Lock()
				defer mu.Unlock()
				sum += n
			})
		}
		ending.Wait()
		return sum
	}
	for _, w := range all {
		w.To, w.Secret = to, secret
		end, err := w.start(context.WithoutCancel(ctx), self)
		if err != nil {
			stop()
			return nil, err
		}
		ends = append(ends, end)
	}
	return stop, nil
}

func (w worker) start(ctx context.Context, self string) (end func() float64, err error) {
	cmd := exec.CommandContext(ctx, self, workerWord)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	told, err := json.Marshal(w) //nolint:gosec // the secret is the benchmark's own, and goes through a pipe
	if err == nil {
		_, err = in.Write(told)
	}
	end = func() (n float64) {
		_ = in.Close()
		_ = cmd.Wait() // it says itself what went wrong
		_, _ = fmt.Sscan(out.String(), &n)
		return n
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

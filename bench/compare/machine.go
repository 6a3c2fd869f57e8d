package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine is what the figures were measured on.
type machine struct {
	cores             int
	model, kernel, os string
	date, goVersion   string
	busy              float64 // cores that others used before
}

// busyLimit is how many cores others may use before the figures are called noisy.
const busyLimit = 0.15

func describe(ctx context.Context) (machine, error) {
	m := machine{
		cores: runtime.NumCPU(), os: runtime.GOOS + "/" + runtime.GOARCH,
		date: time.Now().UTC().Format(time.DateOnly), goVersion: runtime.Version(),
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.model = cpuModel(string(b))
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.kernel = strings.TrimSpace(string(b))
	}
	var err error
	m.busy, err = busy(ctx, time.Second)
	return m, err
}

func (m machine) String() string {
	s := fmt.Sprintf("%d cores", m.cores)
	if m.model != "" {
		s += " of " + m.model
	}
	return s + fmt.Sprintf(" (%s), kernel %s, %s", m.os, m.kernel, m.goVersion)
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

// busy is how many cores the whole machine uses over d, while this program sleeps.
func busy(ctx context.Context, d time.Duration) (float64, error) {
	read := func() (float64, error) {
		b, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, fmt.Errorf("reading the machine's load (this program needs Linux): %w", err)
		}
		return busyTicks(string(b)), nil
	}
	before, err := read()
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := read()
	return (after - before) / 100 / d.Seconds(), err
}

// busyTicks adds the first line of /proc/stat but for idle and iowait, the 4th and 5th, and what follows the 8th, which
// is counted among the others already.
func busyTicks(stat string) (sum float64) {
	line, _, _ := strings.Cut(stat, "\n")
	for i, f := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		v, _ := strconv.ParseFloat(f, 64)
		sum += v
	}
	return sum
}

// Package proc asks Linux what a process has cost so far. Elsewhere every function returns an error.
package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrFormat says that a file of /proc is not as proc(5) describes it.
var ErrFormat = errors.New("unexpected format in /proc")

// Thread is the time that one thread has spent so far, of a process or of the kernel, in nanoseconds' resolution.
func Thread(tid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", tid))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of thread %d: %w", tid, err)
	}
	return parseSchedstat(string(b))
}

// parseSchedstat reads the first of three numbers (Documentation/scheduler/sched-stats.rst of Linux).
func parseSchedstat(s string) (time.Duration, error) {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return 0, ErrFormat
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, ErrFormat
	}
	return time.Duration(n), nil
}

// RSS is the resident memory of a process in bytes.
func RSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	return parseStatus(string(b))
}

func parseStatus(status string) (int64, error) {
	for line := range strings.Lines(status) {
		value, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		fields := strings.Fields(value)
		if len(fields) != 2 || fields[1] != "kB" {
			return 0, ErrFormat
		}
		kb, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, ErrFormat
		}
		return kb << 10, nil
	}
	return 0, ErrFormat
}

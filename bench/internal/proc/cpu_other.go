//go:build !linux

package proc

import (
	"errors"
	"fmt"
	"time"
)

// CPU fails.
func CPU(pid int) (time.Duration, error) {
	return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, errors.ErrUnsupported)
}

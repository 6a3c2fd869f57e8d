package proc

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the time that all threads of a process have spent so far, in user and kernel mode, in nanoseconds' resolution:
// /proc has it in hundredths of a second.
func CPU(pid int) (time.Duration, error) {
	const exact = 2 // CPUCLOCK_SCHED: what the scheduler counts, as for CLOCK_PROCESS_CPUTIME_ID
	var t unix.Timespec
	var err error = unix.ESRCH
	if pid > 0 { // 0 would be this process
		// As clock_getcpuclockid(3) makes it.
		err = unix.ClockGettime(int32(^pid<<3|exact), &t)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

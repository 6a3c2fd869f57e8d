package fleet

import (
	"maps"
	"time"
)

// departedFor is how long a process that is gone is remembered beyond its place in the list: longer than any lock of a Broker lasts.
const departedFor = 2 * time.Minute

// Boot tells this process from all others of the fleet, in 26 letters and digits.
func (f *Fleet) Boot() string { return f.boot }

// Gone reports whether the process that [Fleet.Boot] names at another machine has ended: it has said so, or nothing was heard of it
// for 10 s in which Redis was there. It is false for one that this machine has never heard of, and for all while this machine
// itself does not reach Redis: then it cannot tell.
func (f *Fleet) Gone(boot string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.fault != "" || f.beaten.IsZero() || time.Since(f.beaten) > 3*f.cfg.beat {
		return false
	}
	if m := f.machines[boot]; m != nil {
		return m.left || f.clock-m.heard >= f.gone()
	}
	_, was := f.departed[boot]
	return was
}

// depart remembers that a process is gone which is about to be forgotten. f.mu is held.
func (f *Fleet) depart(boot string) {
	maps.DeleteFunc(f.departed, func(_ string, at time.Duration) bool { return f.clock-at > departedFor })
	if len(f.departed) < maxMachines {
		f.departed[boot] = f.clock
	}
}

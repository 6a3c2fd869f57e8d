//go:build !linux

package systemd

import "time"

var begun = time.Now()

// monotonic is the time of a clock that only goes forward.
func monotonic() time.Duration { return time.Since(begun) }

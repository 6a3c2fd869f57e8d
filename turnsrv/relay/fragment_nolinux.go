//go:build !linux

package relay

// fragmentAgain is dontFragment off.
func fragmentAgain(fd int, four bool) { _ = dontFragment(fd, four, false) }

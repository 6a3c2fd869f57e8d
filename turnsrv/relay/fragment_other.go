//go:build !linux && !darwin && !freebsd && !windows

package relay

import "errors"

// CanDontFragment reports whether DONT-FRAGMENT (RFC 8656 §18.9) can be done on this system.
const CanDontFragment = false

func dontFragment(int, bool, bool) error { return errors.ErrUnsupported }

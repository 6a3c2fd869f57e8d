package relay

import (
	"errors"
	"testing"
)

// A port that may not be bound is passed over, and not tried again.
func TestForbiddenPorts(t *testing.T) {
	p := newPorts(Family{Bind: loopback4}, 1000, 1009)
	tried := map[uint16]int{}
	take := func() error {
		return p.take(false, false, func(port uint16) (bool, error) {
			tried[port]++
			if port < 1005 {
				return false, errForbidden
			}
			return true, nil
		})
	}
	for i := range 5 {
		if err := take(); err != nil {
			t.Fatalf("port %d of 5: %v", i, err)
		}
	}
	if err := take(); !errors.Is(err, ErrPrivileged) {
		t.Errorf("when none is left: %v", err)
	}
	for port, n := range tried {
		if n != 1 {
			t.Errorf("port %d was tried %d times", port, n)
		}
	}
}

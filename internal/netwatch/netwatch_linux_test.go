package netwatch

import (
	"context"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownNetwork moves the test's thread into a network namespace of its own, with its loopback interface up.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	ip(t, "link", "set", "lo", "up")
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Skipf("ip %v: %v: %s", args, err, out)
	}
}

// Addresses, routes and rules of both families that come or go are noticed.
func TestChangesAreNoticed(t *testing.T) {
	ownNetwork(t)
	s, err := open() // in this namespace; what Run starts would be in another thread's
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	drain := func() (n int) {
		_ = s.SetReadDeadline(time.Now().Add(time.Second))
		buf := make([]byte, 16<<10)
		for {
			if _, err := s.Read(buf); err != nil {
				return n
			}
			n++
			_ = s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		}
	}
	drain()
	for _, change := range [][]string{
		{"addr", "add", "192.0.2.7/24", "dev", "lo"}, {"addr", "del", "192.0.2.7/24", "dev", "lo"},
		{"addr", "add", "2001:db8::7/64", "dev", "lo", "nodad"}, {"route", "add", "198.51.100.0/24", "dev", "lo"},
		{"-6", "route", "add", "2001:db8:1::/48", "dev", "lo"}, {"rule", "add", "from", "192.0.2.7", "lookup", "9"},
		{"-6", "rule", "add", "from", "2001:db8::7", "lookup", "9"},
	} {
		if ip(t, change...); drain() == 0 {
			t.Errorf("ip %v went unnoticed", change)
		}
	}
}

// Run ends with its context, and takes several events for one.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, func() {}) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

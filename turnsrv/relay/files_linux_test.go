//go:build linux && !portable

package relay

import (
	"errors"
	"os"
	"testing"
)

// Relays leave the last descriptors to others, and can be opened again when some are free.
func TestFilesAreSpared(t *testing.T) {
	lowest, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	limit := int(lowest.Fd()) + 40
	_ = lowest.Close()
	w := newWorld(t, func(c *Config) { c.Files = limit })
	var open []*Relay
	for {
		c := w.client(w.udp4)
		r, err := w.Open(c.src, OpenOptions{Family: 4})
		if errors.Is(err, ErrFiles) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if open = append(open, r); r.sock.fd() >= limit || len(open) > 40 {
			t.Fatalf("relay %d has descriptor %d, the limit is %d", len(open), r.sock.fd(), limit)
		}
	}
	if len(open) < 2 {
		t.Fatalf("room for %d relays only", len(open))
	}
	for _, r := range open[:2] { // one for the next client's own socket
		r.Close()
	}
	if _, err := w.Open(w.client(w.udp4).src, OpenOptions{Family: 4}); err != nil {
		t.Errorf("after others were closed: %v", err)
	}
}

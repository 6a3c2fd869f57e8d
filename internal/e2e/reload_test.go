package e2e

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// The program itself, at SIGHUP and at a changed file, with a live allocation.
func TestReload(t *testing.T) {
	s := serve(t)
	username, password := s.credentials(t, "alice")
	c, err := turnclient.Dial(t.Context(), turnclient.Options{Transport: "udp", Addr: s.turn, Username: username, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Allocate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	peer := netip.MustParseAddrPort("127.0.0.1:9")
	if err := c.Permit(t.Context(), peer); turnclient.Code(err) != 403 {
		t.Fatalf("loopback as a peer: %v", err)
	}
	edit := func(old, text string) {
		t.Helper()
		b, err := os.ReadFile(s.config)
		if err != nil || !strings.Contains(string(b), old) {
			t.Fatalf("no %q: %v", old, err)
		}
		if err := os.WriteFile(s.config, []byte(strings.Replace(string(b), old, text, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := func(text string, times int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); strings.Count(s.logs(), text) < times; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never said: %s\n%s", text, s.logs())
			}
		}
	}
	hup := func() {
		t.Helper()
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}

	edit("allow = []", `allow = ["127.0.0.1"]`)
	hup()
	said("the changed configuration holds", 1)
	if err := c.Permit(t.Context(), peer); err != nil {
		t.Errorf("after SIGHUP: %v", err)
	}

	edit("allow = [", "allow = [7, ")
	edit(`ice_transport_policy = "all"`, `ice_transport_policy = "some"`)
	hup()
	said("the changed configuration is refused, the old one holds", 1)
	said("turn.peers.allow: entry 1", 1)
	said("hooks.rtc.ice_transport_policy", 1)
	if err := c.Permit(t.Context(), peer); err != nil {
		t.Errorf("after a broken file: %v", err)
	}

	// Without a signal, and with a key that cannot change.
	edit("allow = [7, ", "allow = [")
	edit(`"some"`, `"relay"`)
	edit("[turn]\n", "[turn]\nrealm = \"another\"\n")
	said(`"some changes need a restart","component":"config","keys":["turn.realm"]`, 1)
	if conf, _ := s.resolve(t, "bob"); conf.IceTransportPolicy != "relay" {
		t.Errorf("a Node is told %q", conf.IceTransportPolicy)
	}
	if _, err := c.Refresh(t.Context(), time.Minute); err != nil {
		t.Errorf("the live allocation: %v", err)
	}
}

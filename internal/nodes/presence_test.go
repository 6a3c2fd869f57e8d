package nodes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// At the Broker in this process it is known who is connected, and who only lost the connection.
func TestJoinedAndLeft(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	for _, lost := range []bool{false, true} {
		r.Joined("alice", "joined")
		c.add(24 * time.Hour)
		if !r.Connected("alice") || r.Stats().Connected != 1 {
			t.Error("connected, and has been for a day")
		}
		r.Left("alice", "left", lost)
		if r.Connected("alice") != lost {
			t.Errorf("lost %v: connected %v", lost, r.Connected("alice"))
		}
		c.add(ConnectedFor)
		if r.Connected("alice") {
			t.Errorf("lost %v: still connected", lost)
		}
	}
}

// Whom a Broker has connected is not forgotten for strangers' sake.
func TestJoinedIsNotDropped(t *testing.T) {
	r := newRegistry(t, Config{MaxNodes: 8})
	r.Joined("alice", "joined")
	for i := range 100 {
		r.Issued(fmt.Sprint(i), time.Now())
	}
	if !r.Connected("alice") {
		t.Error("forgotten")
	}
	r.Left("alice", "left", false)
	for i := range 100 {
		r.Issued(fmt.Sprint("more", i), time.Now())
	}
	if r.knows("alice") {
		t.Error("kept for ever")
	}
}

type cutter struct{ cut []string }

func (c *cutter) Disconnect(node, _ string) bool {
	c.cut = append(c.cut, node)
	return node == "alice"
}

func TestBanDisconnects(t *testing.T) {
	r := newRegistry(t, Config{})
	var b cutter
	r.AttachBroker(&b)
	r.Joined("alice", "joined")
	for node, cut := range map[string]bool{"alice": true, "bob": false} {
		if done, err := r.Ban(node, "", 0); err != nil || done.Cut != cut || r.Connected(node) {
			t.Errorf("%s: %+v, %v, connected %v", node, done, err, r.Connected(node))
		}
	}
	if len(b.cut) != 2 {
		t.Errorf("%v", b.cut)
	}
}

// Who was connected when the process ended, or was killed, counts for as long after the start as after a lost connection.
func TestPresentAfterRestart(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	r := newRegistry(t, Config{Now: c.now, DataDir: dir})
	r.Joined("alice", "joined")
	r.Joined("bob", "joined")
	r.Left("bob", "left", false)
	r.tidy() // and then it is killed
	c.add(time.Minute)
	r = newRegistry(t, Config{Now: c.now, DataDir: dir})
	if !r.Connected("alice") || r.Connected("bob") {
		t.Errorf("alice %v, bob %v", r.Connected("alice"), r.Connected("bob"))
	}
	c.add(ConnectedFor)
	if r.Connected("alice") {
		t.Error("connected for ever")
	}
	r.Joined("carol", "joined")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil { // an end in order
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]bool{presentFor: true, presentFor + time.Second: false, -time.Second: false} {
		late := newClock()
		late.t = c.now().Add(age)
		if got := newRegistry(t, Config{Now: late.now, DataDir: dir}).Connected("carol"); got != want {
			t.Errorf("after %v: %v", age, got)
		}
	}
	file := filepath.Join(dir, presentName)
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := os.WriteFile(file, []byte(`{"nodes":[`), 0o600); err != nil {
		t.Fatal(err)
	}
	r = newRegistry(t, Config{Now: c.now, DataDir: dir})
	if r.Stats().Connected != 0 {
		t.Error("read from half a file")
	}
	if r.tidy(); r.Stats().Connected == 0 {
		if _, err := os.Stat(file); err == nil {
			t.Error("what is of no use any more stays")
		}
	}
}

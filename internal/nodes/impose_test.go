package nodes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// everywhere has relays of everybody.
type everywhere struct{ closed []string }

func (c *everywhere) CloseNode(node, _ string) int {
	c.closed = append(c.closed, node)
	return 2
}

func (c *everywhere) LiveByNode() map[string]int { return nil }

func TestImpose(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r := newRegistry(t, Config{DataDir: dir, Now: c.now})
	relays := &everywhere{}
	r.Attach(relays)
	ban(t, r, "old", "", 0)
	since := c.now().Add(-time.Minute)
	all := []Imposed{
		{Ban: Ban{Node: "eve", Reason: "spam", Since: since, Until: since.Add(time.Hour)}, By: "the operator, at eu-2"},
		{Ban: Ban{Node: "old"}, Lift: true, By: "the operator, at eu-2"},
		{Ban: Ban{Node: "nobody"}, Lift: true, By: "the operator, at eu-2"},
		{Ban: Ban{Node: "\x01"}, By: "the operator, at eu-2"},
	}
	r.Impose(all)
	if all[0].Err != nil || all[0].Did.Closed != 2 || !all[0].Did.Kept || all[1].Err != nil {
		t.Errorf("%+v", all)
	}
	if !errors.Is(all[2].Err, ErrNotBanned) || all[3].Err == nil {
		t.Errorf("lifting nothing: %v, a ban of no Node: %v", all[2].Err, all[3].Err)
	}
	if b, ok := r.BanOf("eve"); !ok || !b.Since.Equal(since) || r.Banned("old") {
		t.Errorf("ban %+v, old banned %v", b, r.Banned("old"))
	}
	_, events, _ := r.Lookup("eve")
	if n := len(events); n != 1 || !strings.HasPrefix(events[0].Detail, "banned by the operator, at eu-2: spam, until ") {
		t.Errorf("%+v", events)
	}
	if !slices.Equal(relays.closed, []string{"old", "eve"}) {
		t.Errorf("closed %v", relays.closed)
	}
	if again := newRegistry(t, Config{DataDir: dir, Now: c.now}); !again.Banned("eve") || again.Banned("old") {
		t.Error("the disk has other bans than are in force")
	}
}

// Many at once take one write of the disk, and none of it keeps a ban from being in force.
func TestImposeOnAFullDisk(t *testing.T) {
	d := disk{t, t.TempDir()}
	r := newRegistry(t, Config{DataDir: d.path})
	ban(t, r, "held", "", 0)
	d.fill()
	all := []Imposed{{Ban: Ban{Node: "held"}, Lift: true}}
	for i := range 1000 {
		all = append(all, Imposed{Ban: Ban{Node: fmt.Sprint("n", i), Since: time.Now()}})
	}
	r.Impose(all)
	if all[0].Err == nil || !r.Banned("held") {
		t.Error("a ban was lifted that the disk still has")
	}
	for _, one := range all[1:] {
		if one.Err != nil || one.Did.Kept || !r.Banned(one.Ban.Node) {
			t.Fatalf("%+v", one)
		}
	}
	d.free()
	if r.bans.catchUp(); len(d.has()) != 1001 {
		t.Errorf("%d on the disk", len(d.has()))
	}
}

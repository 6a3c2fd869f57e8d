package app

import (
	"errors"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// At a Node's limit its relays end, its RTC configuration has no TURN server any more, and its Allocates are refused, all with
// the cause, while others go on. A reload that raises the limit ends that.
func TestLimitOfTheMonth(t *testing.T) {
	const limited = openToLoopback + "[turn.limits]\nbytes_per_month_per_node = '2kB'\n"
	s := startSite(t, limited)
	peer, _ := echo(t)
	c, other := s.client("alice"), s.client("bob")
	s.allocate(c)
	s.allocate(other)
	if err := errors.Join(c.Bind(t.Context(), 0x4001, peer), other.Bind(t.Context(), 0x4001, peer)); err != nil {
		t.Fatal(err)
	}
	if err := round(t.Context(), c, strings.Repeat("x", 1000)); err != nil { // 1028 bytes, there and back
		t.Fatal(err)
	}
	eventually(t, "her relay has ended", func() bool { return s.turn.Live() == 1 })
	if err := round(t.Context(), other, "bob goes on"); err != nil {
		t.Error(err)
	}
	if _, err := c.Allocate(t.Context(), nil); turnclient.Code(err) != 486 {
		t.Errorf("another allocation: %v", err)
	}
	if code, rtc := s.post("/resolve-rtc-configuration", `{"id":"alice"}`, ""); code != 200 || strings.Contains(rtc, "turn:") || !strings.Contains(rtc, "stun:") {
		t.Errorf("%d %s", code, rtc)
	}
	if _, rtc := s.post("/resolve-rtc-configuration", `{"id":"bob"}`, ""); !strings.Contains(rtc, "turn:") {
		t.Errorf("bob: %s", rtc)
	}
	_, events, _ := s.nodes.Lookup("alice")
	var record strings.Builder
	for _, e := range events {
		record.WriteString(e.Detail + "\n")
	}
	for _, want := range []string{
		"80 % of the 2 kB", "ended: the Node has relayed its 2 kB of this month, see turn.limits.bytes_per_month_per_node",
		"allocation refused: the Node has relayed", "no TURN server in the RTC configuration: the Node has relayed",
	} {
		if !strings.Contains(record.String(), want) {
			t.Errorf("the why-record has no %q:\n%s", want, &record)
		}
	}
	eventually(t, "the finding", s.warns("usage.nodes"))
	s.reloadTo(openToLoopback + "[turn.limits]\nbytes_per_month_per_node = '1MB'\n")
	s.allocate(c)
	eventually(t, "no finding", func() bool { return !s.warns("usage.nodes")() })
	s.reloadTo(openToLoopback + "[turn.limits]\nbytes_per_month = '1kB'\n")
	eventually(t, "all relays have ended", func() bool { return s.turn.Live() == 0 })
	if _, err := other.Allocate(t.Context(), nil); turnclient.Code(err) != 508 {
		t.Errorf("bob: %v", err)
	}
}

// The limit of all allocations together comes and goes with a reload, and what it drops is counted as such.
func TestTotalBitsPerSecond(t *testing.T) {
	s := startSite(t, openToLoopback)
	peer, _ := echo(t)
	c := s.client("alice")
	s.allocate(c)
	if err := errors.Join(c.Bind(t.Context(), 0x4001, peer), round(t.Context(), c, "before")); err != nil {
		t.Fatal(err)
	}
	s.reloadTo(openToLoopback + "[turn.limits]\ntotal_bits_per_second = 8000\n")
	for range 1000 {
		if err := c.SendChannel(0x4001, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "drops have their cause", func() bool { return s.report.turnStats().Drops["over_total"] > 500 })
	s.reloadTo(openToLoopback)
	other := s.client("bob")
	s.allocate(other)
	if err := other.Bind(t.Context(), 0x4001, peer); err != nil {
		t.Fatal(err)
	}
	for range 20 { // more than the limit gave at once
		if err := round(t.Context(), other, strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
}

// What the Nodes of doctor use is one line, however often it runs, and messages count for whoever sent them.
func TestWhoIsCounted(t *testing.T) {
	s := startSite(t, "")
	for _, from := range []string{nodeid.DoctorPrefix + "1", nodeid.DoctorPrefix + "2", "alice", "alice"} {
		s.post("/authenticated-socket-msg", `{"senderId":"`+from+`","receiverId":"bob"}`, "")
	}
	eventually(t, "they are counted", func() bool {
		_, a := s.usage.This("alice")
		_, d := s.usage.This(nodeid.DoctorAgent)
		return a.Messages == 2 && d.Messages == 2 && s.usage.Stats().Nodes == 2
	})
}

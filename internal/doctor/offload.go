package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// offloaded says whether the kernel relays, if it was asked to.
func offloaded(n *notes, o adminapi.Offload) {
	switch {
	case !o.On && (o.Reason == "" || o.Reason == "turn.offload is off"):
		return
	case !o.On:
		n.add(Warn, "offload", "the kernel relays nothing: "+o.Reason, "see docs/operations.md, Relaying in the kernel; or set turn.offload to off")
		return
	case o.Reason != "":
		n.add(Warn, "offload", "the kernel relays nothing: "+o.Reason, "remove the limit, or set turn.offload to off")
		return
	}
	where := []string{"no interface yet"}
	if len(o.Interfaces) > 0 {
		where = nil
	}
	for _, i := range o.Interfaces {
		where = append(where, fmt.Sprintf("%s: %s", i.Name, cmp.Or(strings.Join(i.Modes, " and "), "not at all")))
	}
	n.add(OK, "offload", fmt.Sprintf("the kernel relays (%s): %d flows, %s", strings.Join(where, ", "), o.Flows, shared(o)), "")
	for _, w := range o.Ways {
		if w.State != "trusted" && w.State != "condemned" {
			n.add(OK, "offload", fmt.Sprintf("from %s to %s (%s) the sockets relay until the kernel's way was seen to work: %s", w.In, w.Out, w.Mode, w.State), "")
		}
	}
	for _, i := range o.Interfaces {
		for _, mode := range slices.Sorted(maps.Keys(i.Failed)) {
			level, remedy := OK, ""
			if len(i.Modes) == 0 {
				level, remedy = Warn, "see the server's log; the sockets relay it"
			}
			n.add(level, "offload", fmt.Sprintf("not by %s on %s: %s", mode, i.Name, i.Failed[mode]), remedy)
		}
	}
}

// shared says how many datagrams the kernel has taken, and why it has left others to the sockets.
func shared(o adminapi.Offload) string {
	left := uint64(0)
	var why []string
	for _, cause := range slices.SortedFunc(maps.Keys(o.Left), func(a, b string) int { return cmp.Or(cmp.Compare(o.Left[b], o.Left[a]), cmp.Compare(a, b)) }) {
		if n := o.Left[cause]; n > 0 {
			left += n
			why = append(why, fmt.Sprintf("%d %s", n, cause))
		}
	}
	if left == 0 {
		return fmt.Sprintf("%d datagrams taken, none left to the sockets", o.Taken)
	}
	return fmt.Sprintf("%d datagrams taken (%d %%), %d left to the sockets (%s)", o.Taken, 100*o.Taken/(o.Taken+left), left, strings.Join(why, ", "))
}

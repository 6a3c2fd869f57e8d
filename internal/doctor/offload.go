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
	left := uint64(0)
	for _, c := range o.Left {
		left += c
	}
	where := []string{"no interface yet"}
	if len(o.Interfaces) > 0 {
		where = nil
	}
	for _, i := range o.Interfaces {
		where = append(where, fmt.Sprintf("%s: %s", i.Name, cmp.Or(strings.Join(i.Modes, " and "), "not at all")))
	}
	n.add(OK, "offload", fmt.Sprintf("the kernel relays (%s): %d flows, %d datagrams taken, %d left to the sockets", strings.Join(where, ", "), o.Flows, o.Taken, left), "")
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

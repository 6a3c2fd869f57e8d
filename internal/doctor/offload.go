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
	var where []string
	for _, i := range o.Interfaces {
		if len(i.Modes) > 0 {
			where = append(where, i.Name+": "+strings.Join(i.Modes, " and "))
		}
	}
	switch {
	case len(where) > 0:
		n.add(OK, "offload", fmt.Sprintf("the kernel relays (%s): %d flows, %s", strings.Join(where, ", "), o.Flows, shared(o)), "")
	case len(o.Interfaces) == 0:
		n.add(OK, "offload", "the kernel waits for the first channel that it can relay", "")
	}
	for _, w := range o.Ways {
		if w.State != "trusted" && w.State != "condemned" {
			n.add(OK, "offload", fmt.Sprintf("from %s to %s by %s it is not trusted yet (%s), and most is left to the sockets", w.In, w.Out, w.Mode, w.State), "")
		}
	}
	for _, i := range o.Interfaces {
		var failed []string
		for _, mode := range slices.Sorted(maps.Keys(i.Failed)) {
			failed = append(failed, fmt.Sprintf("%s: %s", mode, i.Failed[mode]))
		}
		switch {
		case len(i.Modes) == 0:
			n.add(Warn, "offload", fmt.Sprintf("the kernel relays nothing that comes in on %s (%s), the sockets do", i.Name, strings.Join(failed, "; ")),
				"mend what loses its datagrams; it tries again in an hour, or when the interface has been down or has another address")
		case len(failed) > 0:
			n.add(OK, "offload", fmt.Sprintf("not all ways are used on %s (%s)", i.Name, strings.Join(failed, "; ")), "")
		}
	}
	var apart []string
	for _, why := range slices.Sorted(maps.Keys(o.Apart)) {
		apart = append(apart, fmt.Sprintf("%d %s", o.Apart[why], cmp.Or(reasons[why], why)))
	}
	if o.Waiting > 0 {
		apart = append(apart, fmt.Sprintf("%d flows whose addresses are on no Ethernet interface of this machine, or lead out by none", o.Waiting))
	}
	if len(apart) > 0 {
		n.add(OK, "offload", "channels that only the sockets can relay: "+strings.Join(apart, ", "), "")
	}
}

// reasons are why the kernel does not relay a channel.
var reasons = map[string]string{
	"transport": "of clients over TCP, TLS or DTLS",
	"limit":     "under a limit of bits per second",
	"fleet":     "that the fleet decides about, datagram by datagram",
	"family":    "between IPv4 and IPv6",
	"one_way":   "to a relay here whose client has no channel back",
	"kernel":    "for which there is no way left, or no room",
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

package doctor

import (
	"fmt"
	"slices"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

func TestOffloaded(t *testing.T) {
	on := func(set func(*adminapi.Offload)) adminapi.Offload {
		o := adminapi.Offload{On: true, Flows: 2, Interfaces: []adminapi.OffloadInterface{{Name: "eth0", Modes: []string{"tcx", "xdp native"}}}}
		set(&o)
		return o
	}
	for name, c := range map[string]struct {
		o    adminapi.Offload
		want []string
	}{
		"off":     {adminapi.Offload{Reason: "turn.offload is off"}, nil},
		"missing": {adminapi.Offload{Reason: "no CAP_BPF"}, []string{"warn the kernel relays nothing: no CAP_BPF"}},
		"limited": {on(func(o *adminapi.Offload) { o.Reason = "turn.limits.bits_per_second" }), []string{"warn the kernel relays nothing: turn.limits.bits_per_second"}},
		"no channel yet": {
			on(func(o *adminapi.Offload) { o.Interfaces, o.Flows = nil, 0 }),
			[]string{"ok the kernel waits for the first channel that it can relay"},
		},
		"all taken": {
			on(func(o *adminapi.Offload) { o.Taken, o.Left = 7, map[string]uint64{"odd": 0} }),
			[]string{"ok the kernel relays (eth0: tcx and xdp native): 2 flows, 7 datagrams taken, none left to the sockets"},
		},
		"some left": {
			on(func(o *adminapi.Offload) {
				o.Taken, o.Left = 300, map[string]uint64{"settling": 10, "proving": 80, "long": 10, "odd": 0}
			}),
			[]string{"ok the kernel relays (eth0: tcx and xdp native): 2 flows, 300 datagrams taken (75 %), 100 left to the sockets (80 proving, 10 long, 10 settling)"},
		},
		"on trial, and condemned": {
			on(func(o *adminapi.Offload) {
				o.Interfaces = []adminapi.OffloadInterface{{Name: "eth0", Failed: map[string]string{"tcx": "answers came by the sockets only"}}}
				o.Ways = []adminapi.OffloadWay{{In: "eth0", Out: "eth1", Mode: "tcx", State: "trial"}, {In: "eth0", Out: "eth0", Mode: "tcx", State: "condemned"}}
			}),
			[]string{
				"ok from eth0 to eth1 by tcx it is not trusted yet (trial), and most is left to the sockets",
				"warn the kernel relays nothing that comes in on eth0 (tcx: answers came by the sockets only), the sockets do",
			},
		},
		"another mode, and what is apart": {
			on(func(o *adminapi.Offload) {
				o.Interfaces[0].Modes, o.Interfaces[0].Failed = []string{"xdp native"}, map[string]string{"tcx": "answers came by the sockets only"}
				o.Apart, o.Waiting = map[string]int{"transport": 3, "family": 1, "new": 2}, 4
			}),
			[]string{
				"ok the kernel relays (eth0: xdp native): 2 flows, 0 datagrams taken, none left to the sockets",
				"ok not all ways are used on eth0 (tcx: answers came by the sockets only)",
				"ok channels that only the sockets can relay: 1 between IPv4 and IPv6, 2 new, 3 of clients over TCP, TLS or DTLS, " +
					"4 flows whose addresses are on no Ethernet interface of this machine, or lead out by none",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var n notes
			offloaded(&n, c.o)
			var got []string
			for _, f := range n {
				got = append(got, fmt.Sprint(f.Status, " ", f.Detail))
				if (f.Status == Warn) == (f.Remedy == "") {
					t.Errorf("%s: remedy %q", f.Detail, f.Remedy)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

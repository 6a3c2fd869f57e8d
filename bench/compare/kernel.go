package main

import (
	"context"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

// whole is the CPU of a server's process and of the kernel's threads at both ends: what one server leaves to the other end's thread,
// another has done already.
func whole(title string, must float64) figure {
	return figure{
		key: "cpu", title: title, unit: "µs CPU", digits: 2, goal: goal{must: must},
		of: func(r *load.Result) float64 { return r.Process.CPU + r.Process.Kernel + r.Process.Beyond },
	}
}

const thisEndKey = "this end"

// thisEnd is that without the other end, beside it and without a goal.
func thisEnd(title string) figure {
	return figure{
		key: thisEndKey, title: title + "; this end of it", unit: "µs CPU", digits: 2,
		of: func(r *load.Result) float64 { return r.Process.CPU + r.Process.Kernel },
	}
}

// kernelRows are those of relaying in the kernel (turn.offload), across an interface. The ratio is that of the server with it.
func kernelRows() []row {
	flat := func(key, direction, title string) row {
		more := delivered(title + ", delivered")
		more.goal = goal{must: 2.2, more: true}
		return row{
			key: key, across: true, kernel: true, figures: []figure{whole(title, 0.20), thisEnd(title), more},
			load: load.Config{Transport: "udp", Direction: direction, Clients: 4, Size: payload},
		}
	}
	at := func(key, direction, title string) row {
		return row{
			key: key, across: true, kernel: true, figures: []figure{whole(title, 0.30), thisEnd(title)},
			load: load.Config{Transport: "udp", Direction: direction, Clients: 8, Size: payload, Rate: paced},
		}
	}
	const trickle = "echo, 50 clients at 50/s each, 160 bytes"
	return []row{
		at("kernel-up", load.Up, "to the peer, 40 000/s, 8 clients"),
		at("kernel-down", load.Down, "to the client, 40 000/s, 8 clients"),
		flat("kernel-up-max", load.Up, "to the peer, as fast as possible, 4 clients"),
		flat("kernel-down-max", load.Down, "to the client, as fast as possible, 4 clients"),
		{
			key: "kernel-echo", across: true, kernel: true,
			load: load.Config{Transport: "udp", Direction: load.Echo, Clients: 50, Size: 160, Rate: 50 * 50},
			figures: []figure{
				whole(trickle, 0.30), thisEnd(trickle),
				{
					key: latencyKey, title: "echo, p99 of the round trip", unit: "µs", goal: goal{must: 0.6},
					of: func(r *load.Result) float64 { return r.Latency.P99 },
				},
			},
		},
	}
}

// The table by number of calls, of two flows each, and size.
var (
	gridFlows = []int{4, 100, 5000}
	gridSizes = []int{64, 200, 1200}
)

// gridSpread is how much more a datagram may cost among the most calls than among the fewest.
const gridSpread = 1.3

func gridKey(flows, size int) string { return fmt.Sprintf("kernel-%dx%d", flows, size) }

// ownKey is that of a row where each call has two sockets of its own.
func ownKey(flows int) string { return gridKey(flows, ownSize) + "-own" }

// ownSize is the size for which it is shown what sockets of their own cost many calls, in the kernel.
const ownSize = 200

func gridRows() (all []row) {
	for _, size := range gridSizes {
		for _, flows := range gridFlows {
			all = append(all, gridRow(gridKey(flows, size), "", flows, size, true))
		}
	}
	for _, flows := range []int{gridFlows[0], gridFlows[len(gridFlows)-1]} {
		all = append(all, gridRow(ownKey(flows), ", sockets of their own", flows, ownSize, false))
	}
	return all
}

// gridRow is one of them. The datagrams are sent one by one, and by as many goroutines for few calls as for many, from as many
// sockets: else few would send bursts, and only many would wake the kernel's thread for each datagram and its receiver, and that
// would be all that the table shows. There and back, as calls are, and no faster than the generator can with thousands of sockets.
func gridRow(key, more string, flows, size int, hosts bool) row {
	return row{
		key: key, across: true, kernel: true, grid: true, hosts: hosts,
		figures: []figure{whole(fmt.Sprintf("%s calls, %d bytes%s", number(float64(flows), 0), size, more), 0)},
		load: load.Config{
			Transport: "udp", Direction: load.Echo, Clients: flows, Size: size, Rate: paced / 4, Dialers: 8,
			Burst: 1, Batch: 1, Senders: gridFlows[0],
		},
	}
}

// reflector is bench/floor where it relays nothing: the kernel sends back what arrives.
type reflector struct{ floor }

// Name implements [servers.Kind].
func (reflector) Name() string { return "sent back" }

// Command implements [servers.Kind].
func (f reflector) Command(ctx context.Context, _ string, a servers.Addresses) (*exec.Cmd, error) {
	return exec.CommandContext(ctx, f.path, "-address", a.Server, "-port", strconv.Itoa(a.Plain), "-threads", "1", "-reflect", a.Device), nil //nolint:gosec // built by us
}

// provenIn is how long traffic there and back flows before the load: the kernel is trusted with an interface only after it.
const provenIn = 7 * time.Second

// movedIn is how long traffic flows at least before a measurement: flows begin on the sockets, and where no answers come go
// back there once for five seconds, to see whether those bring some.
const movedIn = 9 * time.Second

// prove has the server's kernel take flows over.
func (c *comparison) prove(ctx context.Context, s *servers.Server) error {
	_, err := load.Run(ctx, load.Config{
		Server: s.Of("udp"), Secret: c.secret, Transport: "udp", Direction: load.Echo, Clients: 2, Size: 100, Rate: 200,
		Warmup: provenIn, Duration: 100 * time.Millisecond,
	})
	return err
}

// withGoals are the outcomes that have a goal of their own.
func withGoals(all []outcome) []outcome {
	return slices.DeleteFunc(slices.Clone(all), func(o outcome) bool { return o.verdict() == none })
}

// kernelTable is the comparison with what the kernel relays, beside the same server on sockets and what only sends back.
func kernelTable(all []outcome) [][]string {
	rows := [][]string{{"", "", "coturn", "on sockets", "in the kernel", "sent back", "ratio", "must", "reached"}}
	for _, o := range all {
		if o.grid {
			continue
		}
		rows = append(rows, []string{
			o.title, o.unit, o.cell(o.peer, true), o.cell(o.sockets, true), o.cell(o.ours, true), o.cell(o.floor, true),
			number(o.ratio(), 2), o.bound(o.goal.must), string(o.verdict()),
		})
	}
	return rows
}

// gridTable is the cost of a datagram by number of calls and size.
func gridTable(all []outcome) [][]string {
	rows := [][]string{{"", "", "coturn", "on sockets", "in the kernel", "sent back", "ratio"}}
	for _, o := range all {
		if o.grid {
			rows = append(rows, []string{
				o.title, o.unit, o.cell(o.peer, false), o.cell(o.sockets, false), o.cell(o.ours, true), o.cell(o.floor, false), number(o.ratio(), 2),
			})
		}
	}
	return rows
}

// spread says how much more the most calls cost than the fewest, and than some, and by how many sizes the first is too much.
func spread(all []outcome) (text string, misses int) {
	few, some, most := gridFlows[0], gridFlows[1], gridFlows[len(gridFlows)-1]
	row := func(key string, of func(outcome) sample) float64 {
		for _, o := range all {
			if o.row == key {
				return of(o).median()
			}
		}
		return math.NaN()
	}
	cost := func(flows, size int, of func(outcome) sample) float64 { return row(gridKey(flows, size), of) }
	list := func(fewer int, of func(outcome) sample, compare func(most, fewer float64) float64) string {
		var all []string
		for _, size := range gridSizes {
			all = append(all, number(compare(cost(most, size, of), cost(fewer, size, of)), 2))
		}
		return strings.Join(all, ", ")
	}
	times, more := func(a, b float64) float64 { return a / b }, func(a, b float64) float64 { return a - b }
	ours, floor := func(o outcome) sample { return o.ours }, func(o outcome) sample { return o.floor }
	own := func(of func(outcome) sample) string {
		return number(times(row(ownKey(most), of), row(ownKey(few), of)), 2)
	}
	for _, size := range gridSizes {
		v := times(cost(most, size, ours), cost(few, size, ours))
		if math.IsNaN(v) { // not measured
			return "", 0
		}
		if v > gridSpread {
			misses++
		}
	}
	return fmt.Sprintf("Among %s calls a datagram costs in the kernel, by size, %s times what it costs among %d (must %.1f), and %s times what it costs among %d. "+
		"What is only sent back: %s times, and %s times. In µs that is %s more than among %d; what is only sent back: %s more. "+
		"With sockets of their own for every call, of %d bytes: %s times, and what is only sent back %s times.",
		number(float64(most), 0), list(few, ours, times), few, gridSpread, list(some, ours, times), some,
		list(few, floor, times), list(some, floor, times), list(few, ours, more), few, list(few, floor, more),
		ownSize, own(ours), own(floor)), misses
}

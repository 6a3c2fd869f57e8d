package main

import (
	"runtime"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

// goal is what a figure is to reach: as a ratio to coturn's, or in its own unit.
type goal struct {
	must, aim float64 // aim 0: none
	more      bool    // more is better
	absolute  bool
}

// figure is one line of the table.
type figure struct {
	key, title, unit string
	digits           int
	of               func(*load.Result) float64
	goal             goal
}

// row is one measurement on each of the servers. Its figures come from the same run.
type row struct {
	key     string
	load    load.Config
	figures []figure
	floor   int  // threads for the floor; 0: it is not measured
	across  bool // over an interface rather than over loopback
	kernel  bool // with turn.offload as well
	grid    bool // of the table by flows and sizes
	hosts   bool // each client and peer has an address of its own
}

func cpu(title string, must, aim float64) figure {
	return figure{
		key: "cpu", title: title, unit: "µs CPU", digits: 2, goal: goal{must: must, aim: aim},
		of: func(r *load.Result) float64 { return r.Process.CPU },
	}
}

func delivered(title string) figure {
	return figure{
		key: "delivered", title: title, unit: "1/s", goal: goal{must: 1.5, aim: 2, more: true},
		of: func(r *load.Result) float64 { return r.DeliveredPPS },
	}
}

const latencyKey = "p99"

// The bounds that the project has set itself, as ratios to Debian's coturn.
const (
	paced   = 40_000
	payload = 1200
)

// rows are all comparisons, in the order of the table.
func rows() []row {
	flat := func(key, transport, direction, title string) row {
		return row{
			key:     key,
			load:    load.Config{Transport: transport, Direction: direction, Clients: 4, Size: payload},
			figures: []figure{cpu(title, 0.50, 0.40), delivered(title + ", delivered")},
			floor:   runtime.NumCPU(),
		}
	}
	at := func(key, transport, direction, title string, must, aim float64) row {
		return row{
			key:     key,
			load:    load.Config{Transport: transport, Direction: direction, Clients: 8, Size: payload, Rate: paced},
			figures: []figure{cpu(title, must, aim)},
		}
	}
	udp := func(r row) row {
		r.floor = 1 // two threads cost more where one can do it
		return r
	}
	all := []row{
		flat("udp-up-max", "udp", load.Up, "UDP to the peer, as fast as possible, 4 clients"),
		flat("udp-down-max", "udp", load.Down, "UDP to the client, as fast as possible, 4 clients"),
		udp(at("udp-up", "udp", load.Up, "UDP to the peer, 40 000/s, 8 clients", 0.65, 0.55)),
		udp(at("udp-down", "udp", load.Down, "UDP to the client, 40 000/s, 8 clients", 0.65, 0.55)),
		udp(row{
			key:  "echo",
			load: load.Config{Transport: "udp", Direction: load.Echo, Clients: 50, Size: 160, Rate: 50 * 200},
			figures: []figure{
				cpu("echo, 50 clients at 200/s each, 160 bytes", 1.05, 0.90),
				{
					key: latencyKey, title: "echo, p99 of the round trip", unit: "µs", goal: goal{must: 1.2, aim: 1.0},
					of: func(r *load.Result) float64 { return r.Latency.P99 },
				},
			},
		}),
		at("tcp-up", "tcp", load.Up, "TCP client to peer, 40 000/s, 8 clients", 1.0, 0.85),
		at("tcp-down", "tcp", load.Down, "peer to TCP client, 40 000/s, 8 clients", 1.0, 0.85),
		at("tls-up", "tls", load.Up, "TLS client to peer, 40 000/s, 8 clients", 1.0, 0.85),
		at("tls-down", "tls", load.Down, "peer to TLS client, 40 000/s, 8 clients", 1.0, 0.85),
		{
			key:  "setup",
			load: load.Config{Transport: "udp", Direction: load.Setup, Clients: 2000, Size: payload},
			figures: []figure{
				{
					key: "cpu", title: "setting up an allocation", unit: "µs CPU", goal: goal{must: 0.65, aim: 0.50},
					of: func(r *load.Result) float64 { return r.Setup.CPU },
				},
				{
					key: "memory", title: "an idle allocation, of 2 000 in a fresh process", unit: "kB", digits: 1,
					goal: goal{must: 12, aim: 8, absolute: true},
					of:   func(r *load.Result) float64 { return r.Setup.Memory },
				},
			},
		},
	}
	// The datagrams once more, across an interface.
	for _, r := range all {
		if r.floor > 0 {
			r.key, r.across, r.floor = "ethernet-"+r.key, true, 0
			all = append(all, r)
		}
	}
	return slices.Concat(all, kernelRows(), gridRows())
}

// The figures of our own start, which have no peer here.
const startRow = "start"

func startFigures() []figure {
	return []figure{
		{key: "first", title: "ready, first start (makes secret and certificate)", unit: "ms", goal: goal{must: 150, absolute: true}},
		{key: "again", title: "ready, later start", unit: "ms", goal: goal{must: 150, absolute: true}},
		{key: "idle", title: "resident when idle", unit: "MB", digits: 1, goal: goal{must: 40, absolute: true}},
	}
}

// pace is how long is measured, and how often.
type pace struct {
	repeat           int
	duration, warmup time.Duration
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// report is all that a document says.
type report struct {
	near, across []outcome // over loopback, and across an interface
	kernel       []outcome // across an interface, with relaying in the kernel
	machine      machine
	pace         pace
	ours, coturn string // versions
}

const documentHead = `# Benchmarks

Written by ` + "`go run ./bench/compare`" + `, which starts this repository's server and coturn in turn, each measurement on a fresh
process, and puts the same load on both. Everything runs on one machine: generator and server share its processors. The
figures say how the two compare; they are not what either does on a machine of its own.

## Over 127.0.0.1

`

const documentAcross = `
## Across a network interface

The same datagrams, with the server in a network namespace of its own behind a pair of virtual Ethernet interfaces. Each
end takes what arrives in a kernel thread and puts datagrams of one flow together (GRO), as a network card's interrupts
do: our server then receives many with one call, and hands many to the kernel with one. Over loopback every datagram
arrives alone, and its delivery is charged to the sender. The kernel threads' time is in neither server's figure.

`

const documentTail = `
## How to read it

- A figure is the median of the repetitions, in brackets the least and the largest. The ratio is that of the medians:
  crolang-aio to coturn. *must* and *aim* are the bounds that this project has set itself.
- *µs CPU* is what the server's process spent, in user and kernel mode on all threads, per datagram that was delivered. An
  echo crosses the server twice and counts as two. The kernel charges much of the delivery over loopback to the sender.
- *delivered* is what arrives when the generator sends as fast as it can: both servers are overloaded then and drop the rest.
- Each client has an allocation and a channel of its own, and a peer of its own: datagrams travel as ChannelData on one side
  and plain on the other. Paced clients are spread evenly in time.
- *an idle allocation* is the growth of resident memory over 2 000 allocations, *setting up* the server's CPU for one, with
  the challenge (401) before it.
- coturn runs as packaged, its log sent to /dev/null; ours logs at level warn. Neither limits rates. Both have a self-signed
  P-256 certificate, and choose TLS 1.3's cipher as they do by default.
- *ready* is from starting the process until ` + "`/readyz`" + ` answers 200; *resident when idle* is taken two seconds later.
`

const documentFloor = `
## What the kernel takes

*floor* is ` + "`bench/floor`" + `, a relay that does nothing but relay: no credential, permission, limit or count, and no Go scheduler in
its way. It receives with ` + "`recvmmsg`" + ` and sends with ` + "`UDP_SEGMENT`" + `, 32 datagrams at a time, in threads that wait in
` + "`epoll_wait`" + `: one where the load is paced, else as many as there are cores. Where it misses what our server must reach, no
server that uses sockets reaches that on this kernel, whatever its own code is.

`

const documentEnd = `
## Measure yours

` + "```sh" + `
go run ./bench/compare                     # these tables; -help lists the flags
go run ./bench/compare -kernel             # those of relaying in the kernel
go run ./bench/turnload -help              # one load, on any TURN server
go test -run '^$' -bench . ./bench/hooks   # the webhooks against Express
` + "```" + `
`

func (r report) conditions() string {
	return fmt.Sprintf("crolang-aio %s and coturn %s on %s, %s; medians of %d runs of %v.",
		r.ours, r.coturn, r.machine, r.machine.date, r.pace.repeat, r.pace.duration)
}

// warning says that the machine was not quiet.
func (r report) warning() string {
	if r.machine.busy < busyLimit {
		return ""
	}
	return fmt.Sprintf("\n**Other processes used %.1f of its processors before the measurements began: the figures are noisy.**\n", r.machine.busy)
}

// text is what a terminal shows.
func (r report) text() string {
	var b strings.Builder
	for _, rows := range [][][]string{
		table(r.near, true), floorTable(r.near), table(r.across, true), kernelTable(r.kernel), gridTable(r.kernel),
	} {
		if len(rows) > 1 {
			b.WriteString(plain(rows) + "\n")
		}
	}
	b.WriteString(r.conditions() + "\n")
	for _, all := range [][]outcome{r.near, r.across, withGoals(r.kernel)} {
		if len(all) > 0 {
			text, _ := summary(all)
			b.WriteString(text + "\n")
		}
	}
	if text, _ := spread(r.kernel); text != "" {
		b.WriteString(text + "\n")
	}
	return b.String()
}

// misses are the figures that miss what they must reach.
func (r report) misses() int {
	_, near := summary(r.near)
	_, across := summary(r.across)
	_, kernel := summary(withGoals(r.kernel))
	_, grid := spread(r.kernel)
	return near + across + kernel + grid
}

func (r report) document() string {
	text, _ := summary(r.near)
	var b strings.Builder
	b.WriteString(documentHead + r.conditions() + "\n" + r.warning())
	b.WriteString("\n" + markdown(table(r.near, true)) + "\n" + text + "\n")
	if len(r.across) > 0 {
		text, _ := summary(r.across)
		b.WriteString(documentAcross + markdown(table(r.across, true)) + "\n" + text + "\n")
	}
	b.WriteString(documentTail)
	if t := floorTable(r.near); t != nil {
		b.WriteString(documentFloor + markdown(t))
	}
	b.WriteString(documentEnd)
	return b.String()
}

// briefly are the figures that README.md shows, and what it says of them.
var briefly = []struct {
	across      bool
	title, says string
}{
	{true, "UDP to the peer, as fast as possible, 4 clients, delivered", "datagrams a second across an interface (higher is better)"},
	{true, "UDP to the peer, 40 000/s, 8 clients", "CPU for one across an interface, 40 000/s, µs (lower)"},
	{false, "peer to TLS client, 40 000/s, 8 clients", "CPU for one to a TLS client over loopback, 40 000/s, µs (lower)"},
	{false, "setting up an allocation", "CPU for setting up an allocation, µs (lower)"},
	{false, "an idle allocation, of 2 000 in a fresh process", "memory of an idle allocation, kB (lower)"},
}

// block is what README.md shows: a few medians and their ratios.
func (r report) block() string {
	rows := [][]string{{"", "coturn", "crolang-aio", "ratio"}}
	for _, b := range briefly {
		of := r.near
		if b.across {
			of = r.across
		}
		for _, o := range of {
			if o.title == b.title {
				c := o.cells(false)
				rows = append(rows, []string{b.says, c[2], c[3], c[4]})
			}
		}
	}
	return markdown(rows) + "\n" + r.conditions() + " [All figures](docs/benchmarks.md).\n"
}

// save writes the document, and the block where README.md has its marks.
func (r report) save(document, readme string) error {
	text, block, m := r.document(), r.block(), socketMarks
	if len(r.kernel) > 0 {
		text, block, m = r.kernelDocument(), r.kernelBlock(), kernelMarks
	}
	if err := os.MkdirAll(filepath.Dir(document), 0o755); err != nil { //nolint:gosec // a folder of the repository
		return err
	}
	if err := os.WriteFile(document, []byte(text), 0o644); err != nil { //nolint:gosec // a document
		return err
	}
	old, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	replaced, err := m.replace(string(old), block)
	if errors.Is(err, errNoMarks) {
		return fmt.Errorf("%s is left as it is: %w (%s and %s)", readme, err, m.begin, m.end)
	}
	return os.WriteFile(readme, []byte(replaced), 0o644) //nolint:gosec // a document
}

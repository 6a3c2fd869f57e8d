package main

import "strings"

const kernelHead = `# Benchmarks of relaying in the kernel

Written by ` + "`go run ./bench/compare -kernel`" + `: this repository's server on sockets and with ` + "`turn.offload`" + `, and coturn, in turn, each
measurement on a fresh process. [Benchmarks](benchmarks.md) has those on sockets, and how to read such tables.

Generator and server share one machine. The server is in a network namespace of its own behind a pair of virtual Ethernet
interfaces, and each end takes what arrives in a kernel thread. All figures are those of the server's process and of both threads
together, in µs of CPU per datagram that was delivered: until a datagram is in its receiver's socket, one server leaves more of
the work to the other end's thread than another. *This end of it* is without that thread.

*Sent back* is ` + "`bench/floor -reflect`" + `: an XDP program that changes places of addresses and ports, and sends each datagram back. It
looks nothing up, counts nothing and makes no checksum: what is left is what a pair of virtual interfaces costs. Flows in the
kernel go ` + "`tcx across veth`" + ` here, which hands on the packet as it is, where XDP makes one of its own, and does so without the pair's
queue, in the thread of this end alone; so they can cost less than that.

`

const kernelGrid = `
## By number of calls and size

Echo of 10 000 datagrams a second of all clients together, each of which crosses the server twice. Four threads of the generator send
them one by one, for each call in turn, so that they arrive at the same moments whether the calls are few or many; all are read
and answered one by one too. A call has a flow in each direction. Each client has an IP address of its own, and so has each peer,
but four sockets receive what is for clients, and four what is for peers: elsewhere receivers are machines of their own, and many cost
each no more than few do. Where a call has *sockets of its own*, all at one address, the system looks for these too, and wakes their
reader one by one, on the account of the thread that delivers.

`

const kernelTail = `
## How to read it

- The ratio is that of the median in the kernel to coturn's.
- Before each measurement of the kernel, traffic there and back flows until the kernel is trusted with the interface, and then the
  load, until its flows have moved. What goes in one direction only is back on the sockets once for five seconds
  ([operations](operations.md#relaying-in-the-kernel)).
- Where the load is a trickle, most of every figure is waking: the thread itself, and whoever takes in what it has sent. That is what
  *sent back* shows there.
- What a datagram costs more among thousands of calls is fetching what is cold, the relay's socket, which the system looks up for it, and
  its flow, and what the process does for each call: reading its counters, and asking for the route to its client and to its peer.
- A network card costs something else: none was at hand.
`

// kernelDocument is the document on relaying in the kernel.
func (r report) kernelDocument() string {
	var b strings.Builder
	text, _ := summary(withGoals(r.kernel))
	b.WriteString(kernelHead + r.conditions() + "\n" + r.warning())
	b.WriteString("\n" + markdown(kernelTable(r.kernel)) + "\n" + text + "\n")
	if text, _ := spread(r.kernel); text != "" {
		b.WriteString(kernelGrid + markdown(gridTable(r.kernel)) + "\n" + text + "\n")
	}
	return b.String() + kernelTail
}

// kernelBriefly are the figures that README.md shows of relaying in the kernel, and what it says of them.
var kernelBriefly = []struct{ title, says string }{
	{"to the peer, as fast as possible, 4 clients, delivered", "datagrams a second (higher is better)"},
	{"to the peer, 40 000/s, 8 clients", "CPU for one, 40 000/s, µs (lower)"},
	{"echo, 50 clients at 50/s each, 160 bytes", "CPU for one in a trickle, 50 clients at 50/s, µs (lower)"},
}

// kernelBlock is what README.md shows of relaying in the kernel.
func (r report) kernelBlock() string {
	rows := [][]string{{"", "coturn", "on sockets", "in the kernel", "ratio"}}
	for _, b := range kernelBriefly {
		for _, o := range r.kernel {
			if o.title == b.title {
				rows = append(rows, []string{b.says, o.cell(o.peer, false), o.cell(o.sockets, false), o.cell(o.ours, false), number(o.ratio(), 2)})
			}
		}
	}
	return markdown(rows) + "\n" + r.conditions() + " [All figures](docs/benchmarks-kernel.md).\n"
}

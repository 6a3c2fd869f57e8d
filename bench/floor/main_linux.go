// Floor is a relay that does nothing but relay: no credential, permission, limit or count. It is what a TURN server on
// this kernel would cost if all of its own code were free, and a bound that bench/compare sets beside the servers.
// Whoever can reach it can use it, so it listens on 127.0.0.1 unless it is told otherwise, and is not for anything else.
//
//	floor -port 13478 -threads 2
//
// With -reflect it relays nothing: at that interface the kernel sends back what arrives for a relayed address (XDP), which is
// what a relay in the kernel would cost if all of its own code were free.
//
// It receives with recvmmsg and sends with sendmmsg and UDP_SEGMENT, 32 datagrams at a time, in threads that wait in
// epoll_wait and share the port (SO_REUSEPORT). It runs until it is killed.
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
)

func main() {
	address := flag.String("address", "127.0.0.1", "IPv4 `address` to listen and relay at")
	device := flag.String("reflect", "", "`interface` at which the kernel sends back what arrives for a relay")
	port := flag.Uint("port", 0, "UDP `port` of that address")
	threads := flag.Int("threads", runtime.NumCPU(), "threads, each with a socket of its own")
	flag.Parse()
	at, err := netip.ParseAddr(*address)
	if err != nil || !at.Is4() || *port == 0 || *port > 65535 || *threads < 1 || *threads > 256 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "floor: give -port 1 to 65535 and -threads 1 to 256, and an -address of IPv4 or none")
		os.Exit(2)
	}
	if *device != "" {
		l, err := reflect(*device)
		if err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
		defer func() { _ = l.Close() }() // never reached: it goes with the process
	}
	// A thread waits without telling the scheduler, so it keeps its processor; one more is for the rest.
	runtime.GOMAXPROCS(*threads + 1)
	f := floor{at: at}
	failed := make(chan error)
	for range *threads {
		w, err := f.thread(netip.AddrPortFrom(at, uint16(*port)))
		if err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
		go func() {
			runtime.LockOSThread()
			failed <- w.run()
		}()
	}
	fmt.Fprintln(os.Stderr, "floor:", <-failed)
	os.Exit(1)
}

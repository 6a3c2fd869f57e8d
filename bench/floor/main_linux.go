// Floor is a relay that does nothing but relay: no credential, permission, limit or count. It is what a TURN server on
// this kernel would cost if all of its own code were free, and a bound that bench/compare sets beside the servers.
// Whoever can reach it can use it, so it listens on 127.0.0.1 alone, and is not for anything else.
//
//	floor -port 13478 -threads 2
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
	port := flag.Uint("port", 0, "UDP `port` on 127.0.0.1")
	threads := flag.Int("threads", runtime.NumCPU(), "threads, each with a socket of its own")
	flag.Parse()
	if *port == 0 || *port > 65535 || *threads < 1 || *threads > 256 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "floor: give -port 1 to 65535 and -threads 1 to 256")
		os.Exit(2)
	}
	// A thread waits without telling the scheduler, so it keeps its processor; one more is for the rest.
	runtime.GOMAXPROCS(*threads + 1)
	var f floor
	failed := make(chan error)
	for range *threads {
		w, err := f.thread(netip.AddrPortFrom(loopback, uint16(*port)))
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

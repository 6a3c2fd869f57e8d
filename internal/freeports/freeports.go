// Package freeports hands out the ports at which tests and benchmarks start programs that have to be told theirs. They lie
// below those that Linux gives to whoever does not ask for one (ip_local_port_range, from 32768 on), so that no client's
// socket gets one between its choice and its use, and no other process that asks this package is given the same.
package freeports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

const (
	lowest = 10000
	blocks = 20
	size   = 400 // of a block, with its guard: 10000 to 17999 are all of them
)

var (
	mu    sync.Mutex
	guard net.Listener // at the first port of this process' block, which it has as long as it runs: no other takes that block
	last  int          // that was handed out
)

// Next returns a port that nobody has on any address, by TCP or by UDP. A port is given again only after all others of the
// process' block. It may be called from several goroutines.
func Next() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	if guard == nil {
		if err := choose(); err != nil {
			return 0, err
		}
	}
	first := guard.Addr().(*net.TCPAddr).Port
	for range size - 1 {
		if last++; last == first+size {
			last = first + 1
		}
		if free(last) {
			return last, nil
		}
	}
	return 0, fmt.Errorf("no port from %d to %d is free: end what runs there", first, first+size-1)
}

// Addr is 127.0.0.1 with the [Next] port.
func Addr() (string, error) {
	port, err := Next()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// choose makes a block of ports this process'.
func choose() (err error) {
	from := rand.IntN(blocks)
	for i := range blocks {
		last = lowest + (from+i)%blocks*size
		if guard, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", last)); err == nil {
			return nil
		}
	}
	return errors.New("20 processes choose ports for tests already: end one")
}

func free(port int) bool {
	addr := fmt.Sprintf(":%d", port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	u, err := net.ListenPacket("udp", addr)
	if err == nil {
		_ = u.Close()
	}
	return l.Close() == nil && err == nil
}

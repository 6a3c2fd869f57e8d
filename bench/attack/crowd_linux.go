package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// crowd opens TCP connections from many addresses of 127.0.0.0/8 at a rate, and says the same on each. It keeps as many open as it may, the newest ones.
type crowd struct {
	to      netip.AddrPort
	rate    int // connections in a second
	sources int
	keep    int    // connections open at a time
	says    []byte // on each connection
	opened  int
}

// source is the i-th address of so many, anywhere in 127.0.0.0/8.
func source(i, sources int) [4]byte {
	n := uint32(i%sources)*2654435761 | 1
	return [4]byte{127, byte(n >> 24), byte(n >> 16), byte(n>>8) | 1}
}

// bindingRequest is the smallest STUN request.
var bindingRequest = []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// words are what a crowd says, by name.
func words(name string) ([]byte, error) {
	switch name {
	case "":
		return nil, nil
	case "binding":
		return bindingRequest, nil
	case "hello":
		return streamHello()
	}
	return nil, fmt.Errorf("a crowd does not say %q", name)
}

// streamHello is what a client of TLS begins with.
func streamHello() ([]byte, error) {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		_ = tls.Client(client, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}).Handshake()
	}()
	b := make([]byte, 8<<10)
	n, err := io.ReadAtLeast(server, b, 5)
	if err != nil {
		return nil, fmt.Errorf("no ClientHello: %w", err)
	}
	return b[:n], nil
}

// run goes on until ctx ends.
func (c *crowd) run(ctx context.Context) error {
	ring := make([]int, c.keep)
	for i := range ring {
		ring[i] = -1
	}
	defer func() {
		for _, fd := range ring {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
	}()
	begun := time.Now()
	for i := 0; ctx.Err() == nil; {
		due := int(time.Since(begun).Seconds() * float64(c.rate))
		if i >= due {
			time.Sleep(time.Millisecond)
			continue
		}
		at := &ring[i%len(ring)]
		if *at >= 0 {
			_ = unix.Close(*at)
		}
		fd, err := c.open(i)
		*at = fd
		if err != nil {
			return err
		}
		i++
	}
	return nil
}

// open makes the i-th connection. -1: it was refused.
func (c *crowd) open(i int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket %d: %w", i, err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: source(i, c.sources)})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: c.to.Addr().As4(), Port: int(c.to.Port())})
	}
	if err == nil || errors.Is(err, unix.EINPROGRESS) {
		c.opened++
		if len(c.says) > 0 {
			_, _ = unix.Write(fd, c.says)
		}
		return fd, nil
	}
	_ = unix.Close(fd)
	return -1, nil
}

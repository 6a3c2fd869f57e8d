package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// tcpRelays has one client connect to the TCP relay of another by its own (RFC 6062), and get back what it sends.
func tcpRelays(a arguments) (ends []end, err error) {
	x, err := allocateTCP(a, 0)
	if err != nil {
		return nil, err
	}
	ends = append(ends, x)
	y, err := allocateTCP(a, 1)
	if err != nil {
		return ends, err
	}
	ends = append(ends, y)
	if err := permit(x, y); err != nil {
		return ends, err
	}
	echoing := make(chan error, 1)
	go func() { echoing <- acceptAndEcho(a, y) }()
	data, err := dataConn(a.URL)
	if err != nil {
		return ends, err
	}
	conn, err := x.dial(data, y.address)
	if err != nil {
		data.Close()
		return ends, errors.Join(fmt.Errorf("connecting to the other's relay: %w", err), state(echoing))
	}
	for i := range a.Count {
		if err := exchange(conn, i, a.Size); err != nil {
			return ends, errors.Join(err, state(echoing))
		}
		time.Sleep(time.Duration(a.Every) * time.Millisecond)
	}
	return ends, nil
}

// exchange sends a message and reads it back.
func exchange(conn net.Conn, i, size int) error {
	want := message(i, size)
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(want); err != nil {
		return fmt.Errorf("message %d: %w", i, err)
	}
	got := make([]byte, size)
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("message %d does not come back: %w", i, err)
	}
	if string(got) != string(want) {
		return fmt.Errorf("message %d came back as another", i)
	}
	return nil
}

func allocateTCP(a arguments, i int) (end, error) {
	e, err := connect(a, i)
	if err != nil {
		return end{}, err
	}
	allocation, err := e.client.AllocateTCP()
	if err != nil {
		e.close()
		return end{}, err
	}
	e.relay, e.address = allocation, allocation.Addr()
	e.dial = func(data net.Conn, to net.Addr) (net.Conn, error) {
		return allocation.DialWithConn(data, "tcp", to.String())
	}
	e.accept = func(data net.Conn) (net.Conn, error) { return allocation.AcceptTCPWithConn(data) }
	return e, nil
}

func acceptAndEcho(a arguments, e end) error {
	data, err := dataConn(a.URL)
	if err != nil {
		return err
	}
	conn, err := e.accept(data)
	if err != nil {
		data.Close()
		return err
	}
	_, err = io.Copy(conn, conn)
	return err
}

// dataConn is a connection to the server that is going to be one to a peer. pion has it over plain TCP alone.
func dataConn(url string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server, _, _ := strings.Cut(strings.TrimPrefix(url, "turn:"), "?transport=")
	return new(net.Dialer).DialContext(ctx, "tcp", server)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
	"github.com/crolang-p2p/crolang-aio/internal/slowline"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// visit has honest clients come one after the other, and returns how long each took that was served.
func visit(ctx context.Context, length time.Duration, client func(i int) error) (times durations) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range honestClients {
		all.Go(func() {
			begun := time.Now()
			if client(i) == nil {
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Since(begun))
			}
		})
		pause(ctx, length/honestClients)
	}
	all.Wait()
	return times
}

// issue is a credential for a Node, as a server with that secret takes it.
func issue(secret, node string) (credential.Credential, error) {
	keys, err := credential.NewKeyring(secret, nil)
	if err != nil {
		return credential.Credential{}, err
	}
	return keys.Issue(node, time.Hour, time.Now())
}

// allocate is what an honest client wants.
func allocate(ctx context.Context, s *servers.Server, i int, transport, addr, local string) error {
	cred, err := issue(s.Secret, fmt.Sprintf("honest%d", i))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*inTime)
	defer cancel()
	c, err := turnclient.Dial(ctx, turnclient.Options{
		Transport: transport, Addr: addr, Local: local, Username: cred.Username, Password: cred.Password, Timeout: 2 * inTime,
	})
	if err != nil {
		return err
	}
	_, err = c.Allocate(ctx, nil)
	return errors.Join(err, c.Close())
}

// overTLS is a client on a slow line, with an address of its own.
func overTLS(ctx context.Context, s *servers.Server, i int) error {
	line, err := slowline.New(s.At(s.TLS), fmt.Sprintf("127.200.%d.1", i), roundTrip)
	if err != nil {
		return err
	}
	return errors.Join(allocate(ctx, s, i, "tls", line.Addr(), ""), line.Close())
}

// overDTLS is OpenSSL's client each second time, if there is one: it has done its handshake when it says so.
func overDTLS(ctx context.Context, s *servers.Server, i int) error {
	path, err := exec.LookPath("openssl")
	if err != nil || i%2 == 0 {
		return allocate(ctx, s, i, "dtls", s.At(s.TLS), "")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*inTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "s_client", "-dtls1_2", "-brief", "-connect", s.At(s.TLS)) //nolint:gosec // found in PATH
	out, err := cmd.CombinedOutput()                                                                 // its input is empty: it ends by itself
	if !bytes.Contains(out, []byte("CONNECTION ESTABLISHED")) {
		return errors.Join(errors.New("no handshake"), err)
	}
	return nil
}

// echo is a client with a channel to a socket that sends everything back.
type echo struct {
	peer   *net.UDPConn
	client *turnclient.Client
	back   sync.WaitGroup
}

const echoChannel = 0x4000

func newEcho(ctx context.Context, s *servers.Server) (_ *echo, err error) {
	cred, err := issue(s.Secret, "honest")
	if err != nil {
		return nil, err
	}
	e := &echo{}
	if e.peer, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, err
	}
	e.back.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := e.peer.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = e.peer.WriteToUDPAddrPort(b[:n], from)
		}
	})
	e.client, err = turnclient.Dial(ctx, turnclient.Options{
		Transport: "udp", Addr: s.At(s.TLS), Username: cred.Username, Password: cred.Password, Timeout: 2 * inTime,
	})
	if err == nil {
		_, err = e.client.Allocate(ctx, nil)
	}
	if err == nil {
		err = e.client.Bind(ctx, echoChannel, e.peer.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	if err != nil {
		e.close()
		return nil, fmt.Errorf("an honest client: %w", err)
	}
	return e, nil
}

func (e *echo) close() {
	if e.client != nil {
		_ = e.client.Close()
	}
	_ = e.peer.Close()
	e.back.Wait()
}

// run sends a datagram 50 times a second, and returns how long those took that came back within a second.
func (e *echo) run(ctx context.Context, length time.Duration) (came int, times durations) {
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, 20*time.Millisecond) {
		if took, ok := thereAndBack(ctx, e.client, came); ok {
			times = append(times, took)
		}
		came++
	}
	return came, times
}

// thereAndBack sends one datagram and waits until it comes back; earlier ones that are late are passed over.
func thereAndBack(ctx context.Context, c *turnclient.Client, number int) (time.Duration, bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	data := strconv.AppendInt(make([]byte, 0, 160), int64(number), 10)
	begun := time.Now()
	if c.SendChannel(echoChannel, data) != nil {
		return 0, false
	}
	for {
		got, err := c.Receive(ctx)
		if err != nil {
			return 0, false
		}
		if bytes.Equal(got.Data, data) {
			return time.Since(begun), true
		}
	}
}

// seen is what an onlooker saw.
type seen struct {
	bindings durations
	lost     int
	rss      int64 // at its most
}

// watch sends Bindings over UDP and looks at the server's memory until the returned function is called.
func watch(ctx context.Context, s *servers.Server) func() seen {
	ctx, cancel := context.WithCancel(ctx)
	var got seen
	var both sync.WaitGroup
	both.Go(func() {
		for ; ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
			if rss, err := proc.RSS(s.Cmd.Process.Pid); err == nil {
				got.rss = max(got.rss, rss)
			}
		}
	})
	both.Go(func() {
		c, err := turnclient.Dial(ctx, turnclient.Options{Transport: "udp", Addr: s.At(s.TLS), Timeout: time.Second})
		if err != nil {
			return
		}
		defer c.Close()
		for ; ctx.Err() == nil; pause(ctx, 10*time.Millisecond) {
			begun := time.Now()
			_, err := c.Binding(ctx)
			switch {
			case err == nil:
				got.bindings = append(got.bindings, time.Since(begun))
			case ctx.Err() == nil:
				got.lost++
			}
		}
	})
	return func() seen {
		cancel()
		both.Wait()
		return got
	}
}

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sync/errgroup"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
)

// result of one server.
type result struct {
	paced, saturated float64 // µs of CPU for a message
	joins            float64 // for each second of CPU
	idle             int64   // bytes
	back             time.Duration
}

const (
	pairs    = 10
	messages = 4000 // of each pair
	joins    = 3000
	dialers  = 32
)

// cpu is the CPU time that the server's processes take while of runs.
func (s *server) cpu(of func() error) (time.Duration, error) {
	sum := func() (all time.Duration, err error) {
		for _, pid := range append([]int{s.cmd.Process.Pid}, s.also...) {
			one, err := proc.CPU(pid)
			if err != nil {
				return 0, err
			}
			all += one
		}
		return all, nil
	}
	before, err := sum()
	if err != nil {
		return 0, err
	}
	if err := of(); err != nil {
		return 0, err
	}
	after, err := sum()
	return after - before, err
}

func (s *server) measure(idle int) (r result, err error) {
	pid, cpu := s.cmd.Process.Pid, s.cpu
	if err := s.talk(1, 500); err != nil { // warm
		return r, err
	}
	took, err := cpu(func() error { return s.talk(1, messages) })
	if err != nil {
		return r, err
	}
	r.paced = float64(took.Microseconds()) / (pairs * messages)
	if took, err = cpu(func() error { return s.talk(64, messages) }); err != nil {
		return r, err
	}
	r.saturated = float64(took.Microseconds()) / (pairs * messages)
	took, err = cpu(func() error {
		return each(joins, func(i int) error {
			n, err := s.join(fmt.Sprint("join-", i))
			if err == nil {
				n.Close()
			}
			return err
		})
	})
	if err != nil {
		return r, err
	}
	r.joins = joins / took.Seconds()
	before, err := proc.RSS(pid)
	if err != nil {
		return r, err
	}
	nodes, err := s.crowd(idle)
	if err != nil {
		return r, err
	}
	time.Sleep(3 * time.Second) // for collectors
	after, err := proc.RSS(pid)
	if err != nil {
		return r, err
	}
	r.idle = (after - before) / int64(idle)
	for _, n := range nodes {
		n.Close()
	}
	start := time.Now()
	nodes, err = s.crowd(idle)
	r.back = time.Since(start)
	for _, n := range nodes {
		n.Close()
	}
	runtime.KeepAlive(nodes)
	return r, err
}

func each(n int, do func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(dialers)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

func (s *server) crowd(n int) ([]net.Conn, error) {
	nodes := make([]net.Conn, n)
	return nodes, each(n, func(i int) error {
		for {
			c, err := s.join(fmt.Sprint("idle-", i))
			if err == nil {
				nodes[i] = c.Conn
				return nil
			}
			if !strings.Contains(err.Error(), "already") {
				return err
			}
			time.Sleep(20 * time.Millisecond) // the server has not seen its end yet
		}
	})
}

type client struct {
	net.Conn

	in *bufio.Reader
}

func (c *client) read() (string, error) {
	for {
		h, err := ws.ReadHeader(c.in)
		if err != nil {
			return "", err
		}
		p := make([]byte, h.Length)
		if _, err := io.ReadFull(c.in, p); err != nil {
			return "", err
		}
		if string(p) != "2" {
			return string(p), nil
		}
		if err := c.send("3"); err != nil {
			return "", err
		}
	}
}

func (c *client) send(text string) error {
	return ws.WriteFrame(c.Conn, ws.MaskFrame(ws.NewTextFrame([]byte(text))))
}

func (s *server) join(id string) (*client, error) {
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	c := &client{nc, bufio.NewReaderSize(nc, 1024)}
	if _, err = fmt.Fprintf(nc, "GET /socket.io/?EIO=4&transport=websocket&version=1&runtime=GO&id=%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", id, s.addr); err != nil {
		return nil, err
	}
	for line := ""; line != "\r\n"; {
		if line, err = c.in.ReadString('\n'); err != nil {
			return nil, err
		}
	}
	for _, want := range []string{"0{", "40{", `42["AUTHENTICATED"`} {
		m, err := c.read()
		if err == nil && !strings.HasPrefix(m, want) {
			err = fmt.Errorf("%s in place of %s", m, want) //nolint:err113 // printed
		}
		if err == nil && want == "0{" {
			err = c.send("40")
		}
		if err != nil {
			nc.Close()
			return nil, err
		}
	}
	return c, nil
}

// talk has each pair exchange n messages of 600 bytes, with at most window unacknowledged.
func (s *server) talk(window, n int) error {
	var g errgroup.Group
	for i := range pairs {
		sender := fmt.Sprintf("from-%d-%d-%d", window, n, i)
		from, err := s.join(sender)
		if err != nil {
			return err
		}
		defer from.Close()
		to := fmt.Sprintf("to-%d-%d-%d", window, n, i)
		receiver, err := s.join(to)
		if err != nil {
			return err
		}
		defer receiver.Close()
		text := `["SOCKET_MSG_EXCHANGE","{\"from\":\"` + sender + `\",\"to\":\"` + to + `\",\"channel\":\"c\",\"content\":\"` + strings.Repeat("x", 500) + `\"}"]`
		places := make(chan struct{}, window)
		g.Go(func() error {
			for i := range n {
				places <- struct{}{}
				if err := from.send(fmt.Sprint("42", i, text)); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error {
			for i := range n {
				if m, err := from.read(); err != nil || m != fmt.Sprintf(`43%d["OK"]`, i) {
					return fmt.Errorf("acknowledged with %q: %w", m, err)
				}
				<-places
			}
			return nil
		})
		g.Go(func() error {
			for range n {
				if _, err := receiver.read(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

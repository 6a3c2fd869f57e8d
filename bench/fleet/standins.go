package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/seal"
)

const (
	secret    = "the secret of the benchmark"
	standBeat = 2 * time.Second
	// readEvery is how many beats of a machine come to one reading of all heartbeats, by how many hundred machines there are: as in
	// package fleet.
	readEvery = 100
)

// measureStandIns has one machine in earnest watch a fleet of stand-ins, which a process of their own runs: they keep the
// connections that a machine keeps, and say and ask what one does, but do not look at the answers.
func measureStandIns(ctx context.Context, o options, server *redisServer, dir string) error {
	way, err := newWay(server.addr)
	if err != nil {
		return err
	}
	defer way.close()
	m, err := startMachine(ctx, 0, 0, way.addr, dir)
	if err != nil {
		return err
	}
	defer endAll([]*machine{m})
	if err := waitFor(ctx, 20*time.Second, func() bool { return m.Counts().Beats > 0 }); err != nil {
		return err
	}
	alone := heap()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	began := time.Now()
	//nolint:gosec // this program
	cmd := exec.CommandContext(ctx, program, "-stand-ins", fmt.Sprint(o.standIns), "-at", server.addr)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	all := o.standIns + 1
	if err := waitFor(ctx, 5*time.Minute, func() bool { return silentHere(m, all) == 0 }); err != nil {
		return fmt.Errorf("not every machine is known: %d are not: %w", silentHere(m, all), err)
	}
	fmt.Printf("all %d machines are known after %s; heap of the one that watches: %.1f MB more\n", all, time.Since(began).Round(time.Millisecond), (heap()-alone)/1e6)
	before, err := server.figures(ctx)
	if err != nil {
		return err
	}
	ours, in, failures, silent := cpuTime(), way.in.Load(), m.Counts().Failures, 0
	for end := time.Now().Add(o.time); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Second) {
		silent = max(silent, silentHere(m, all))
	}
	spent, came := cpuTime()-ours, way.in.Load()-in
	after, err := server.figures(ctx)
	if err != nil {
		return err
	}
	took := after.at.Sub(before.at).Seconds()
	fmt.Printf("Redis: %.1f %% of a core, %.1f MB (%.1f MB without a machine), %.0f commands/s, %.1f MB/s out, %.2f MB/s in\n",
		100*(after.cpu-before.cpu)/took, after.memory/1e6, server.empty/1e6, (after.commands-before.commands)/took,
		(after.out-before.out)/took/1e6, (after.in-before.in)/took/1e6)
	fmt.Printf("the machine that watches: %.2f %% of a core, %.1f kB/s come; exchanges that failed: %d; machines that counted as silent, at most: %d\n",
		100*spent.Seconds()/took, float64(came)/took/1e3, m.Counts().Failures-failures, silent)
	began = time.Now()
	_, s, err := m.Ban(ctx, "eve", "spam", 0)
	if err != nil {
		return err
	}
	fmt.Printf("a ban, which no stand-in answers, has waited for %s; Redis has it: %v\n", time.Since(began).Round(time.Millisecond), s.Shared)
	return nil
}

// standIn runs stand-ins until ctx ends. What they say is what the machine in Redis says, under other names.
func standIn(ctx context.Context, n int, addr string) error {
	client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer client.Close()
	ring, err := seal.NewRing([]string{secret})
	if err != nil {
		return err
	}
	keys, err := client.Keys(ctx, "*/machines").Result()
	if err != nil || len(keys) != 1 {
		return fmt.Errorf("the keys of machines are %q: %w", keys, err)
	}
	prefix := strings.TrimSuffix(keys[0], "machines")
	said, err := client.HVals(ctx, keys[0]).Result()
	if err != nil || len(said) == 0 {
		return fmt.Errorf("nobody is there: %w", err)
	}
	text, err := ring.Open("machine", said[0])
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	for i := range n {
		all.Go(func() {
			s := &stand{number: i, of: n, prefix: prefix, text: text, ring: ring}
			if err := s.run(ctx, addr); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
		time.Sleep(standBeat / time.Duration(n)) // so that they do not beat as one
	}
	<-ctx.Done()
	return nil
}

// stand is one stand-in.
type stand struct {
	number, of int
	prefix     string
	text       []byte
	ring       *seal.Ring
	seq        int
}

func (s *stand) run(ctx context.Context, addr string) error {
	news, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer news.Close()
	if _, err := news.Write(command("SUBSCRIBE", s.prefix+"news", s.prefix+"to/"+s.boot())); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, news) }() // until it is closed
	asks, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer asks.Close()
	answers := bufio.NewReaderSize(asks, 32<<10)
	tick := time.NewTicker(standBeat)
	defer tick.Stop()
	for {
		if err := s.beat(asks, answers); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *stand) boot() string { return fmt.Sprintf("STANDIN%019d", s.number) }

// beat says what a machine says at a beat, and asks what it asks.
func (s *stand) beat(to io.Writer, from *bufio.Reader) error {
	s.seq++
	var h map[string]any
	if err := json.Unmarshal(s.text, &h); err != nil {
		return err
	}
	h["boot"], h["name"], h["seq"], h["at"] = s.boot(), fmt.Sprint("stand-in-", s.number), s.seq, time.Now().UTC()
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	b := command("HSET", s.prefix+"machines", s.boot(), s.ring.Seal("machine", text))
	if s.seq%(1+s.of/readEvery) == s.number%(1+s.of/readEvery) {
		b = append(b, command("HGETALL", s.prefix+"machines")...)
	}
	b = append(b, command("GETRANGE", s.prefix+"generation", "0", "256")...)
	b = append(b, command("XRANGE", s.prefix+"log", "-", "+", "COUNT", "1")...)
	last := fmt.Sprintf("the end of beat %d of %d", s.seq, s.number)
	if _, err := to.Write(append(b, command("ECHO", last)...)); err != nil {
		return err
	}
	for {
		line, err := from.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if bytes.Equal(bytes.TrimSpace(line), []byte(last)) {
			return nil
		}
	}
}

// command is a command of Redis as it is sent.
func command(words ...string) (b []byte) {
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b
}

// way passes connections on to Redis, and counts the bytes that come back.
type way struct {
	addr string
	in   atomic.Int64
	ln   net.Listener
	all  sync.WaitGroup
}

func newWay(to string) (*way, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &way{addr: ln.Addr().String(), ln: ln}
	w.all.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			w.all.Go(func() { defer far.Close(); _, _ = io.Copy(far, near) })
			w.all.Go(func() { defer near.Close(); _, _ = io.Copy(near, counted{far, &w.in}) })
		}
	})
	return w, nil
}

// close waits until all connections have ended, which whoever opened them sees to.
func (w *way) close() {
	w.ln.Close()
	w.all.Wait()
}

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

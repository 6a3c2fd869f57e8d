// Command fleet measures what the machines of a fleet cost their Redis: it runs as many as it is told to in one process, each with
// a part of the Nodes, on Debian's redis-server, and says what CPU time, memory and traffic that takes once all know each other.
// Each machine's list of Nodes changes all the time, as it does where people come and go.
//
//	go run ./bench/fleet                                    # 10 machines, 100 000 Nodes
//	go run ./bench/fleet -machines 1000 -nodes 0 -time 1m
//	go run ./bench/fleet -stand-ins 1000 -time 2m           # one machine, which watches a thousand stand-ins
//	go run ./bench/fleet -machines 3 -bans 100000           # and how long a newcomer needs for all bans
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
)

func main() {
	var o options
	flag.IntVar(&o.machines, "machines", 10, "how many")
	flag.IntVar(&o.nodes, "nodes", 100_000, "connected Nodes, of all machines together")
	flag.IntVar(&o.standIns, "stand-ins", 0, "machines that only say what one says, and ask what one asks; one in earnest watches them")
	flag.StringVar(&o.at, "at", "", "run the stand-ins at this Redis, until they are ended")
	flag.IntVar(&o.bans, "bans", 0, "bans that stand in Redis at the start")
	flag.DurationVar(&o.time, "time", 30*time.Second, "how long it is measured")
	flag.StringVar(&o.redis, "redis", "redis-server", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := measure
	if o.at != "" {
		run = func(ctx context.Context, o options) error { return standIn(ctx, o.standIns, o.at) }
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // nothing is left to undo
	}
}

type options struct {
	machines, nodes, bans int
	standIns              int
	time                  time.Duration
	redis, at             string
}

func measure(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "bench-fleet-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := serve(ctx, o.redis, dir)
	if err != nil {
		return err
	}
	defer server.end()
	if o.bans > 0 {
		return measureBans(ctx, o, server, dir)
	}
	if o.standIns > 0 {
		return measureStandIns(ctx, o, server, dir)
	}
	all, err := startAll(ctx, o.machines, o.nodes, server.addr, dir)
	if err != nil {
		return err
	}
	defer endAll(all)
	began := time.Now()
	if err := waitFor(ctx, 10*time.Minute, func() bool { return allKnown(all) }); err != nil {
		return fmt.Errorf("not every machine knows all: %w", err)
	}
	fmt.Printf("%d machines know each other after %s\n", o.machines, time.Since(began).Round(time.Millisecond))
	if o.nodes > 0 {
		if err := waitFor(ctx, 10*time.Minute, func() bool { return allConnected(all) }); err != nil {
			return fmt.Errorf("not every machine knows the Nodes of all: %w", err)
		}
		fmt.Printf("and %d Nodes of each other after %s\n", o.nodes, time.Since(began).Round(time.Millisecond))
	}
	before, err := server.figures(ctx)
	if err != nil {
		return err
	}
	ours, failures := cpuTime(), allFailures(all)
	silent := 0
	for end := time.Now().Add(o.time); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Second) {
		silent = max(silent, mostSilent(all))
	}
	after, err := server.figures(ctx)
	if err != nil {
		return err
	}
	took := after.at.Sub(before.at).Seconds()
	fmt.Printf("Redis: %.2f %% of a core, %.1f MB (%.1f MB without a machine), %.0f commands/s, %.2f MB/s out, %.2f MB/s in\n",
		100*(after.cpu-before.cpu)/took, after.memory/1e6, server.empty/1e6, (after.commands-before.commands)/took,
		(after.out-before.out)/took/1e6, (after.in-before.in)/took/1e6)
	fmt.Printf("each machine: %.3f %% of a core; exchanges that failed: %d; machines that counted as silent, at most: %d\n",
		100*(cpuTime()-ours).Seconds()/took/float64(o.machines), allFailures(all)-failures, silent)
	return nil
}

// redisServer is a redis-server in a process of its own.
type redisServer struct {
	addr   string
	cmd    *exec.Cmd
	client redis.UniversalClient
	empty  float64 // bytes that it uses with nothing in it
}

func serve(ctx context.Context, program, dir string) (*redisServer, error) {
	addr, err := freeports.Addr()
	if err != nil {
		return nil, err
	}
	s := &redisServer{addr: addr}
	_, port, _ := net.SplitHostPort(s.addr)
	//nolint:gosec // the program that was asked for
	s.cmd = exec.Command(program, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--logfile", filepath.Join(dir, "redis.log"),
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if s.client, err = redisurl.Open("redis://" + s.addr); err != nil {
		s.end()
		return nil, err
	}
	if err := waitFor(ctx, 20*time.Second, func() bool { return s.client.Ping(ctx).Err() == nil }); err != nil {
		s.end()
		return nil, fmt.Errorf("redis-server does not answer: %w", err)
	}
	f, err := s.figures(ctx)
	s.empty = f.memory
	return s, err
}

func (s *redisServer) end() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	if s.client != nil {
		_ = s.client.Close()
	}
}

// figures are totals since the server's start, but for the memory.
type figures struct {
	at                             time.Time
	cpu, memory, commands, in, out float64
}

func (s *redisServer) figures(ctx context.Context) (f figures, err error) {
	text, err := s.client.Info(ctx, "cpu", "memory", "stats").Result()
	if err != nil {
		return f, err
	}
	f.at = time.Now()
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "used_cpu_sys", "used_cpu_user":
			f.cpu += n
		case "used_memory":
			f.memory = n
		case "total_commands_processed":
			f.commands = n
		case "total_net_input_bytes":
			f.in = n
		case "total_net_output_bytes":
			f.out = n
		}
	}
	return f, nil
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func waitFor(ctx context.Context, most time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

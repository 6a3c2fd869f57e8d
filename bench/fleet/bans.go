package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// measureBans has one machine bring bans to an empty Redis, and the others fetch them.
func measureBans(ctx context.Context, o options, server *redisServer, dir string) error {
	first := filepath.Join(dir, "machine-0")
	reg, err := banned(first, o.bans)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := again(first); err != nil {
		return err
	}
	fmt.Printf("%d bans are read from the disk in %s\n", o.bans, time.Since(began).Round(time.Millisecond))
	var all []*machine
	defer func() { endAll(all) }()
	for i := range o.machines {
		before := heap()
		began := time.Now()
		m, err := startMachine(ctx, i, 0, server.addr, dir)
		if err != nil {
			return err
		}
		all = append(all, m)
		fmt.Printf("machine %d is made in %s", i, time.Since(began).Round(time.Millisecond))
		if err := waitFor(ctx, 5*time.Minute, func() bool {
			h := m.Health()
			return h.Bans == len(reg.Bans()) && h.Unshared == 0
		}); err != nil {
			return fmt.Errorf("not all bans are everywhere: %w", err)
		}
		fmt.Printf(", has all bans, and Redis too, after %s", time.Since(began).Round(time.Millisecond))
		fmt.Printf("; heap: %.0f MB more\n", (heap()-before)/1e6)
	}
	before, err := server.figures(ctx)
	if err != nil {
		return err
	}
	ours := cpuTime()
	time.Sleep(o.time)
	after, err := server.figures(ctx)
	if err != nil {
		return err
	}
	took := after.at.Sub(before.at).Seconds()
	fmt.Printf("Redis: %.2f %% of a core, %.1f MB; each machine: %.3f %% of a core\n", 100*(after.cpu-before.cpu)/took, after.memory/1e6,
		100*(cpuTime()-ours).Seconds()/took/float64(o.machines))
	var compared uint64
	for _, m := range all {
		compared += m.Counts().Compared
	}
	fmt.Printf("all bans were compared %d times by %d machines\n", compared, o.machines)
	return nil
}

// banned makes a data_dir with bans.
func banned(dir string, n int) (*nodes.Registry, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	reg, err := nodes.New(nodes.Config{DataDir: dir})
	if err != nil {
		return nil, err
	}
	var all []nodes.Imposed
	for i := range n {
		all = append(all, nodes.Imposed{By: "the benchmark", Ban: nodes.Ban{Node: fmt.Sprintf("node-%d", i), Reason: "spam", Since: time.Now()}})
	}
	reg.Impose(all)
	return reg, nil
}

func again(dir string) error {
	_, err := nodes.New(nodes.Config{DataDir: dir})
	return err
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

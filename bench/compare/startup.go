package main

import (
	"context"
	"fmt"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
)

// idleAfter is when an idle server's memory is looked at: late enough for what start-up leaves behind to be visible.
const idleAfter = 2 * time.Second

// startUp measures a first start in an empty folder, its memory when idle, and a second start in the same folder.
func startUp(ctx context.Context, o servers.Ours, dir string) (map[string]float64, error) {
	a, err := servers.Choose(servers.Loopback, "")
	if err != nil {
		return nil, err
	}
	got := make(map[string]float64)
	for _, key := range []string{"first", "again"} {
		s, err := servers.Launch(ctx, o, dir, a)
		if err != nil {
			return nil, err
		}
		err = s.Await(ctx, s.Ready)
		got[key] = float64(time.Since(s.Started)) / float64(time.Millisecond)
		if err == nil && key == "first" {
			got["idle"], err = idle(ctx, s)
		}
		s.Stop()
		if err != nil {
			return nil, fmt.Errorf("start-up of %s: %w", o.Name(), err)
		}
	}
	return got, nil
}

func idle(ctx context.Context, s *servers.Server) (float64, error) {
	select {
	case <-time.After(idleAfter):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	rss, err := proc.RSS(s.Cmd.Process.Pid)
	return float64(rss) / (1 << 20), err
}

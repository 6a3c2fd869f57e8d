package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
)

// ours is this repository's server.
type ours struct {
	path string // of the program
	root string // of the repository
}

const oursConfig = `data_dir = "data"

[log]
level = "warn"

[public]
host = "%[1]s"
ipv4 = "%[1]s"
ipv6 = "off"

[turn]
listen = ["%[1]s:%[3]d"]
listen_tls = ["%[1]s:%[4]d"]
relay_ports = "%[5]d-%[6]d"

[turn.limits]
unauthenticated_per_second = 0
allocations_per_node = 0

[turn.peers]
allow = ["%[2]s"]

[credentials]
secret = "%[7]s"

[hooks]
listen = "127.0.0.1:%[8]d"

[admin]
listen = "127.0.0.1:%[9]d"
`

// build compiles the program into dir, as a release is compiled, unless there is one already.
func build(ctx context.Context, dir, program string) (ours, error) {
	mod := output(ctx, "go", "env", "GOMOD")
	root := filepath.Dir(mod)
	o := ours{path: filepath.Join(dir, "crolang-aio"), root: root}
	if mod == "" || mod == os.DevNull {
		return o, errors.New("not in the repository of crolang-aio: run `go run ./bench/compare` there")
	}
	if program != "" {
		var err error
		o.path, err = filepath.Abs(program)
		return o, err
	}
	commit := output(ctx, "git", "-C", root, "describe", "--always", "--dirty")
	return o, compile(ctx, root, ".", o.path, "-s -w -X github.com/crolang-p2p/crolang-aio/internal/version.version="+commit)
}

// compile builds one of the repository's programs.
func compile(ctx context.Context, root, pkg, path, ldflags string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", path, pkg) //nolint:gosec // our own module
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", filepath.Base(path), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (ours) name() string  { return "crolang-aio" }
func (ours) streams() bool { return true }

func (o ours) version(ctx context.Context) string {
	if v := output(ctx, "git", "-C", o.root, "describe", "--always", "--dirty"); v != "" {
		return v
	}
	return "unknown"
}

func (o ours) command(ctx context.Context, dir string, a addresses) (*exec.Cmd, error) {
	file := filepath.Join(dir, "crolang-aio.toml")
	text := fmt.Sprintf(oursConfig, a.server, a.peer, a.plain, a.tls, a.low, a.high, a.secret, a.hooks, a.admin)
	if err := write(file, text); err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, o.path, "serve", "--config", file), nil //nolint:gosec // built by us or named by the user
}

// ready asks /readyz.
func (s *server) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback.at(s.admin)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", resp.Status)
	}
	return nil
}

// idleAfter is when an idle server's memory is looked at: late enough for what start-up leaves behind to be visible.
const idleAfter = 2 * time.Second

// startUp measures a first start in an empty folder, its memory when idle, and a second start in the same folder.
func (o ours) startUp(ctx context.Context, dir string) (map[string]float64, error) {
	a, err := choose(loopback, "")
	if err != nil {
		return nil, err
	}
	got := make(map[string]float64)
	for _, key := range []string{"first", "again"} {
		s, err := launch(ctx, o, dir, a)
		if err != nil {
			return nil, err
		}
		err = s.await(ctx, s.ready)
		got[key] = float64(time.Since(s.started)) / float64(time.Millisecond)
		if err == nil && key == "first" {
			got["idle"], err = s.idle(ctx)
		}
		s.stop()
		if err != nil {
			return nil, fmt.Errorf("start-up of %s: %w", o.name(), err)
		}
	}
	return got, nil
}

func (s *server) idle(ctx context.Context) (float64, error) {
	select {
	case <-time.After(idleAfter):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	rss, err := proc.RSS(s.cmd.Process.Pid)
	return float64(rss) / (1 << 20), err
}

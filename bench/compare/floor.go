package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
)

// floor is bench/floor: what a relay costs that does nothing else.
type floor struct {
	path    string
	threads int
}

// buildFloor compiles it into dir.
func buildFloor(ctx context.Context, root, dir string) (floor, error) {
	f := floor{path: filepath.Join(dir, "floor")}
	return f, servers.Compile(ctx, root, "./bench/floor", f.path, "-s -w")
}

func (floor) Name() string                   { return "floor" }
func (floor) Streams() bool                  { return false }
func (floor) Version(context.Context) string { return "" }

func (f floor) Command(ctx context.Context, _ string, a servers.Addresses) (*exec.Cmd, error) {
	return exec.CommandContext(ctx, f.path, "-port", strconv.Itoa(a.Plain), "-threads", strconv.Itoa(f.threads)), nil //nolint:gosec // built by us
}

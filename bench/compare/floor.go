package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
)

// floor is bench/floor: what a relay costs that does nothing else.
type floor struct {
	path    string
	threads int
}

// buildFloor compiles it into dir.
func buildFloor(ctx context.Context, root, dir string) (floor, error) {
	f := floor{path: filepath.Join(dir, "floor")}
	return f, compile(ctx, root, "./bench/floor", f.path, "-s -w")
}

func (floor) name() string                   { return "floor" }
func (floor) streams() bool                  { return false }
func (floor) version(context.Context) string { return "" }

func (f floor) command(ctx context.Context, _ string, a addresses) (*exec.Cmd, error) {
	return exec.CommandContext(ctx, f.path, "-port", strconv.Itoa(a.plain), "-threads", strconv.Itoa(f.threads)), nil //nolint:gosec // built by us
}

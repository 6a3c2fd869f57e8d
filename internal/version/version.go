// Package version describes the binary that is running.
package version

import (
	"runtime"
	"runtime/debug"
)

// Set by the build: -ldflags "-X github.com/crolang-p2p/crolang-aio/internal/version.version=v1.2.3", likewise commit.
var (
	version = "dev"
	commit  = ""
)

// Info describes a build.
type Info struct {
	Version string // "dev" if the build did not set one
	Commit  string // "unknown" if neither the build nor the Go tool set one
	Go      string // version of the Go toolchain
}

// Get returns what the build set, else what the Go tool recorded.
func Get() Info {
	i := Info{Version: version, Commit: commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if i.Version == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
			i.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && i.Commit == "" {
				i.Commit = s.Value
			}
		}
	}
	if i.Commit == "" {
		i.Commit = "unknown"
	}
	return i
}

package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Ours is this repository's server.
type Ours struct {
	Path   string // of the program
	Root   string // of the repository
	Kernel bool   // with turn.offload = "require"
}

const oursConfig = `data_dir = "data"

[log]
level = "warn"

[public]
host = "%[1]s"
ipv4 = "%[1]s"
ipv6 = "off"

[turn]
offload = "%[10]s"
listen = ["%[1]s:%[3]d"]
listen_tls = ["%[1]s:%[4]d"]
relay_ports = "%[5]d-%[6]d"

[turn.limits]
unauthenticated_per_second = 0
allocations_per_node = 0

[turn.peers]
allow = [%[2]s]

[credentials]
secret = "%[7]s"

[hooks]
listen = "127.0.0.1:%[8]d"

[admin]
listen = "127.0.0.1:%[9]d"
`

// Build compiles the program into dir, as a release is compiled, unless there is one already.
func Build(ctx context.Context, dir, program string) (Ours, error) {
	mod := Output(ctx, "go", "env", "GOMOD")
	root := filepath.Dir(mod)
	o := Ours{Path: filepath.Join(dir, "crolang-aio"), Root: root}
	if mod == "" || mod == os.DevNull {
		return o, errors.New("not in the repository of crolang-aio: run this there")
	}
	if program != "" {
		var err error
		o.Path, err = filepath.Abs(program)
		return o, err
	}
	commit := Output(ctx, "git", "-C", root, "describe", "--always", "--dirty")
	return o, Compile(ctx, root, ".", o.Path, "-s -w -X github.com/crolang-p2p/crolang-aio/internal/version.version="+commit)
}

// Compile builds one of the repository's programs.
func Compile(ctx context.Context, root, pkg, path, ldflags string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", path, pkg) //nolint:gosec // our own module
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", filepath.Base(path), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Name implements [Kind].
func (o Ours) Name() string {
	if o.Kernel {
		return "crolang-aio in the kernel"
	}
	return "crolang-aio"
}

// Streams implements [Kind].
func (Ours) Streams() bool { return true }

// Version implements [Kind]: it is the commit.
func (o Ours) Version(ctx context.Context) string {
	if v := Output(ctx, "git", "-C", o.Root, "describe", "--always", "--dirty"); v != "" {
		return v
	}
	return "unknown"
}

// Command implements [Kind].
func (o Ours) Command(ctx context.Context, dir string, a Addresses) (*exec.Cmd, error) {
	file := filepath.Join(dir, "crolang-aio.toml")
	offload := "off"
	if o.Kernel {
		offload = "require"
	}
	allow := strconv.Quote(a.Peer)
	if a.Hosts.IsValid() {
		allow += ", " + strconv.Quote(a.Hosts.String())
	}
	text := fmt.Sprintf(oursConfig, a.Server, allow, a.Plain, a.TLS, a.Low, a.High, a.Secret, a.Hooks, a.Admin, offload)
	if err := write(file, text); err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, o.Path, "serve", "--config", file), nil //nolint:gosec // built by us or named by the user
}

// Ready asks /readyz.
func (s *Server) Ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+Loopback.At(s.Admin)+"/readyz", nil)
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

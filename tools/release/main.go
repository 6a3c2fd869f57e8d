// Command release makes what a release consists of, without Docker and the same bytes each time: static programs, archives,
// packages, a container image, checksums and the list of what is inside (SBOM). Run it by `make release`.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// platforms are those that releases are made for, as GOOS/GOARCH[/GOARM].
var platforms = []string{
	"linux/amd64", "linux/arm64", "linux/arm/7", "linux/riscv64",
	"darwin/amd64", "darwin/arm64", "windows/amd64", "freebsd/amd64", "freebsd/arm64",
}

// release is one that is being made.
type release struct {
	source  string // the module's folder
	out     string // where the files go
	stage   string // where they are prepared; removed at the end
	version string // without the v of its tag
	commit  string
	time    time.Time // that every file inside has
	wanted  []platform
	cache   string // Go's build cache for the program; empty: the user's
}

// platform is one that the program is built for.
type platform struct{ os, arch, arm string }

func parsePlatform(text string) (platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return platform{}, fmt.Errorf("%q is no platform: GOOS/GOARCH or GOOS/GOARCH/GOARM", text)
	}
	p := platform{os: parts[0], arch: parts[1]}
	if len(parts) == 3 {
		p.arm = parts[2]
	}
	return p, nil
}

// String is how files name it: linux_armv7.
func (p platform) String() string {
	if p.arm != "" {
		return p.os + "_" + p.arch + "v" + p.arm
	}
	return p.os + "_" + p.arch
}

func (p platform) program() string {
	if p.os == "windows" {
		return "crolang-aio.exe"
	}
	return "crolang-aio"
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run() error {
	r := release{}
	version := flag.String("version", "", "version, such as v1.2.3; what is no version becomes 0.0.0-dev.COMMIT")
	flag.StringVar(&r.source, "source", ".", "the module's folder")
	flag.StringVar(&r.out, "out", "dist", "folder for the files; it is emptied first")
	flag.StringVar(&r.commit, "commit", "", "commit that is built")
	epoch := flag.Int64("time", 0, "time that every file has, in seconds since 1970: that of the commit")
	only := flag.String("platforms", strings.Join(platforms, ","), "platforms, separated by commas")
	flag.Parse()
	r.version, r.time = versionOf(*version, r.commit), time.Unix(*epoch, 0).UTC()
	for text := range strings.SplitSeq(*only, ",") {
		p, err := parsePlatform(text)
		if err != nil {
			return err
		}
		r.wanted = append(r.wanted, p)
	}
	return r.make()
}

var semver = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?)$`)

// versionOf is what packages can carry: that of a tag, else one that is older than every release.
func versionOf(described, commit string) string {
	if m := semver.FindStringSubmatch(described); m != nil {
		return m[1]
	}
	if len(commit) > 12 {
		commit = commit[:12]
	}
	return strings.TrimSuffix("0.0.0-dev."+commit, ".")
}

func (r *release) make() (err error) {
	for _, dir := range []*string{&r.source, &r.out} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil { //nolint:gosec // it holds what is published
		return err
	}
	if r.stage, err = os.MkdirTemp("", "crolang-aio-release"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.stage)) }()
	for _, step := range []func() error{r.shared, r.platforms, r.image, r.sbom, r.checksums} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// platforms builds the program for each, and what is made of it.
func (r *release) platforms() error {
	for _, p := range r.wanted {
		fmt.Println(p)
		dir := r.folder(p)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := r.build(p, filepath.Join(dir, p.program())); err != nil {
			return err
		}
		if err := r.archive(p); err != nil {
			return err
		}
		if p.os == "linux" {
			if err := r.packages(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// folder has the program of a platform.
func (r *release) folder(p platform) string { return filepath.Join(r.stage, p.String()) }

// build makes the program. It depends on the source, its version, commit and the toolchain alone.
func (r *release) build(p platform, out string) error {
	const at = "github.com/crolang-p2p/crolang-aio/internal/version."
	flags := "-s -w -buildid= -X " + at + "version=" + r.version + " -X " + at + "commit=" + r.commit
	env := []string{"CGO_ENABLED=0", "GOOS=" + p.os, "GOARCH=" + p.arch, "GOARM=" + p.arm, "GOFLAGS="}
	if r.cache != "" {
		env = append(env, "GOCACHE="+r.cache)
	}
	return r.command(env, nil, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out, ".")
}

// command runs a program in the source's folder.
func (r *release) command(env []string, stdout *bytes.Buffer, name string, args ...string) error {
	c := exec.Command(name, args...) //nolint:gosec // the Go tool, and what it has built
	var said bytes.Buffer
	c.Dir, c.Env, c.Stderr = r.source, append(os.Environ(), env...), &said
	if stdout != nil {
		c.Stdout = stdout
	}
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said.String())
	}
	return nil
}

// shared prepares what every archive and package has beside the program: pages, completions, licences.
func (r *release) shared() error {
	own := filepath.Join(r.stage, "own")
	if err := r.build(platform{os: runtime.GOOS, arch: runtime.GOARCH}, own); err != nil {
		return err
	}
	for file, args := range map[string][]string{
		"crolang-aio.1": {"man"}, "crolang-aio.bash": {"completion", "bash"}, "_crolang-aio": {"completion", "zsh"},
		"crolang-aio.fish": {"completion", "fish"}, "example.toml": {"config", "init"},
	} {
		var out bytes.Buffer
		if err := r.command(nil, &out, own, args...); err != nil {
			return err
		}
		if err := r.prepare(file, out.Bytes()); err != nil {
			return err
		}
		if file == "crolang-aio.1" {
			zipped, err := r.gzip(out.Bytes())
			if err != nil {
				return err
			}
			if err := r.prepare(file+".gz", zipped); err != nil {
				return err
			}
		}
	}
	for _, file := range []string{"LICENSE", "NOTICE", "README.md", "CHANGELOG.md"} {
		if err := r.copied(file, file); err != nil {
			return err
		}
	}
	return r.forPackages()
}

// prepare writes a file into the stage.
func (r *release) prepare(name string, data []byte) error {
	return os.WriteFile(filepath.Join(r.stage, name), data, 0o600) //nolint:gosec // names are of this package
}

// copied prepares a file of the source as it is.
func (r *release) copied(from, to string) error {
	data, err := os.ReadFile(filepath.Join(r.source, from))
	if err != nil {
		return err
	}
	return r.prepare(to, data)
}

// sbom lists what is inside each program, as CycloneDX, from what the program itself says.
func (r *release) sbom() error {
	tool := filepath.Join(r.stage, "cyclonedx-gomod")
	if err := r.command([]string{"GOFLAGS="}, nil, "go", "build", "-C", filepath.Join("tools", "release"), "-trimpath", "-buildvcs=false", "-o", tool,
		"github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod"); err != nil {
		return err
	}
	for _, p := range r.wanted {
		if err := r.command([]string{"GOPROXY=off"}, nil, tool, "bin", "-json", "-std", "-licenses", "-noserial", "-notimestamp", "-version", "v"+r.version,
			"-output", filepath.Join(r.out, r.named(p)+".cdx.json"), filepath.Join(r.folder(p), p.program())); err != nil {
			return err
		}
	}
	return nil
}

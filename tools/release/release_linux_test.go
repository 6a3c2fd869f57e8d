package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var here = platform{os: "linux", arch: runtime.GOARCH}

// makes returns a release of this machine's platform with that version, from the source in a folder.
func makes(t *testing.T, source, version, cache string) string {
	t.Helper()
	out, err := os.MkdirTemp(scratch, "release")
	if err != nil {
		t.Fatal(err)
	}
	r := release{source: source, out: out, version: version, commit: "0123456789ab", time: time.Unix(1700000000, 0).UTC(), wanted: []platform{here}, cache: cache}
	if err := r.make(); err != nil {
		t.Fatal(err)
	}
	return out
}

// scratch is a folder for the whole run.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "crolang-aio-release-test"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// first is the release that all tests look at, second one to upgrade to.
var first, second = once("0.0.1"), once("0.0.2")

// once makes a release when it is asked for the first time.
func once(version string) func(*testing.T) string {
	var out string
	var made sync.Once
	return func(t *testing.T) string {
		t.Helper()
		made.Do(func() { out = makes(t, "../..", version, "") })
		return out
	}
}

// needs skips without what is not there, or fails where everything has to be.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has namespaces and chroot")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// copySource copies what git knows of the source to another folder.
func copySource(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "another", "folder")
	list := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Skipf("no git here: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not committed
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// Built in another folder, with nothing built before, every file has the same bytes.
func TestSameBytes(t *testing.T) {
	one := first(t)
	other := makes(t, copySource(t), "0.0.1", t.TempDir())
	entries, err := os.ReadDir(one)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimPrefix(e.Name(), "crolang-aio_0.0.1_"))
		a, errA := os.ReadFile(filepath.Join(one, e.Name()))
		b, errB := os.ReadFile(filepath.Join(other, e.Name()))
		if err := errors.Join(errA, errB); err != nil {
			t.Error(err)
		} else if !bytes.Equal(a, b) {
			t.Errorf("%s is not the same", e.Name())
		}
	}
	p := here.String()
	if want := []string{"SHA256SUMS", "image.tar", p + ".apk", p + ".cdx.json", p + ".deb", p + ".rpm", p + ".tar.gz"}; !slices.Equal(names, want) {
		t.Errorf("the release has %v, want %v", names, want)
	}
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = one
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Every kind of artifact has the licences, and those for a person's machine pages and completions.
func TestContents(t *testing.T) {
	dir := first(t)
	list := func(name string, args ...string) string {
		out, err := exec.Command(args[0], append(args[1:], filepath.Join(dir, "crolang-aio_0.0.1_"+here.String()+name))...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	has := func(text string, names ...string) {
		t.Helper()
		for _, n := range names {
			if !strings.Contains(text, n+"\n") {
				t.Errorf("%s is not among\n%s", n, text)
			}
		}
	}
	has(list(".tar.gz", "tar", "-tzf"), "/LICENSE", "/NOTICE", "/CHANGELOG.md", "/man/crolang-aio.1", "/completions/crolang-aio.bash",
		"/completions/_crolang-aio", "/completions/crolang-aio.fish", "/example.toml", "/crolang-aio")
	for _, packed := range []string{list(".deb", "dpkg-deb", "--contents"), list(".apk", "tar", "--ignore-zeros", "--warning=none", "-tzf")} {
		has(packed, "usr/bin/crolang-aio", "usr/share/doc/crolang-aio/copyright", "usr/share/doc/crolang-aio/NOTICE", "usr/share/man/man1/crolang-aio.1.gz",
			"usr/share/bash-completion/completions/crolang-aio", "usr/share/fish/vendor_completions.d/crolang-aio.fish", "etc/crolang-aio/crolang-aio.toml")
	}
	text, err := os.ReadFile(filepath.Join(dir, "crolang-aio_0.0.1_"+here.String()+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(text, &bom); err != nil || !slices.ContainsFunc(bom.Components, func(c struct{ Name, Version string }) bool {
		return c.Name == "github.com/pion/turn/v4" && strings.HasPrefix(c.Version, "v4.")
	}) {
		t.Errorf("the SBOM does not name pion/turn: %v, %d components", err, len(bom.Components))
	}
}

// debScript is what an operator does with the package, in a copy of this machine's system.
const debScript = `set -eux
config=/etc/crolang-aio/crolang-aio.toml
export DEBIAN_FRONTEND=noninteractive CROLANG_AIO_CONFIG=$config CROLANG_AIO_DATA_DIR=/var/lib/crolang-aio

dpkg -i /tmp/one.deb
test "$(crolang-aio version | head -n1)" = "crolang-aio 0.0.1"
man -l --warnings /usr/share/man/man1/crolang-aio.1.gz >/tmp/page 2>/tmp/warnings || test ! -x /usr/bin/man
test ! -s /tmp/warnings
for file in /usr/share/bash-completion/completions/crolang-aio; do bash -n $file; done
systemd-analyze verify --man=no /usr/lib/systemd/system/crolang-aio.service /usr/lib/systemd/system/crolang-aio-hooks.socket

printf 'drain_timeout = "1s"\n[public]\nipv4 = "127.0.0.1"\n' >>$config
crolang-aio config check
# As systemd makes it for a unit with DynamicUser.
mkdir -p -m 0700 /var/lib/private/crolang-aio
ln -s private/crolang-aio /var/lib/crolang-aio
serve() {
	crolang-aio serve 2>/tmp/log &
	pid=$!
	for i in $(seq 300); do crolang-aio health 2>/dev/null && return; sleep 0.1; done
	cat /tmp/log
	false
}
end() { kill $pid; wait $pid; }
serve
crolang-aio ban mallory --reason spam
end
secret=$(sha256sum /var/lib/crolang-aio/credentials.secret)

dpkg -i /tmp/two.deb
test "$(crolang-aio version | head -n1)" = "crolang-aio 0.0.2"
grep drain_timeout $config
serve
crolang-aio bans | grep 'mallory.*spam'
end
test "$secret" = "$(sha256sum /var/lib/crolang-aio/credentials.secret)"

dpkg -r crolang-aio
test ! -e /usr/bin/crolang-aio
test -e $config
test -e /var/lib/crolang-aio/credentials.secret
dpkg -P crolang-aio
test ! -e /etc/crolang-aio
test ! -e /var/lib/crolang-aio
test ! -e /var/lib/private/crolang-aio
! dpkg -s crolang-aio 2>/dev/null
echo the package is good
`

// rpmScript is the same for an rpm, whose configuration is kept under another name.
const rpmScript = `set -eux
config=/etc/crolang-aio/crolang-aio.toml
rpm -K --nosignature /tmp/one.rpm
rpm -i --nodeps /tmp/one.rpm
rpm -V --nodeps crolang-aio
test "$(crolang-aio version | head -n1)" = "crolang-aio 0.0.1"
crolang-aio config check --config $config
systemd-analyze verify --man=no /usr/lib/systemd/system/crolang-aio.service /usr/lib/systemd/system/crolang-aio-hooks.socket
echo 'drain_timeout = "1s"' >>$config
rpm -U --nodeps /tmp/two.rpm
test "$(crolang-aio version | head -n1)" = "crolang-aio 0.0.2"
grep drain_timeout $config
rpm -e crolang-aio
test ! -e /usr/bin/crolang-aio
grep drain_timeout $config.rpmsave
echo the package is good
`

// The deb is installed, upgraded, removed and purged; configuration and data survive until then.
func TestDeb(t *testing.T) {
	needs(t, "dpkg", "unshare", "ip", "systemd-analyze")
	tryPackage(t, "deb", debScript)
}

// The rpm likewise, on a system of dpkg's: what it needs is not looked up.
func TestRPM(t *testing.T) {
	needs(t, "rpm", "unshare", "ip", "systemd-analyze")
	tryPackage(t, "rpm", rpmScript)
}

// tryPackage runs a script with two versions of a package, on an overlay over this machine's system in namespaces of their own, so that
// nothing stays.
func tryPackage(t *testing.T, kind, script string) {
	dir := t.TempDir()
	for name, from := range map[string]string{"one": first(t), "two": second(t)} {
		found, err := filepath.Glob(filepath.Join(from, "*."+kind))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		data, err := os.ReadFile(found[0])
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name+"."+kind), data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o600), os.Mkdir(filepath.Join(dir, "system"), 0o700)); err != nil {
		t.Fatal(err)
	}
	const outside = `set -eu
mount -t tmpfs tmpfs system
mkdir system/upper system/work system/root
mount -t overlay overlay -o lowerdir=/,upperdir=system/upper,workdir=system/work system/root || exit 75
mount -t proc proc system/root/proc
mount --bind /dev system/root/dev
mount -t tmpfs tmpfs system/root/tmp
cp one.* two.* script system/root/tmp
ip link set lo up
exec chroot system/root sh /tmp/script`
	run := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", outside)
	run.Dir = dir
	out, err := run.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 75 && os.Getenv("CROLANG_AIO_REQUIRE_PEERS") == "" {
		t.Skip("no overlay file system here")
	}
	if err != nil || !strings.Contains(string(out), "the package is good") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// The image's root file system is unpacked, and the program serves in it as the image's user.
func TestImage(t *testing.T) {
	needs(t, "unshare", "ip", "chroot")
	path := filepath.Join(first(t), "crolang-aio_0.0.1_image.tar")
	blobs := unpacked(t, path)
	var saved []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(blobs["manifest.json"], &saved); err != nil || len(saved) != 1 || len(saved[0].Layers) != 1 {
		t.Fatal(err, saved)
	}
	var config struct {
		Config struct {
			User            string
			Entrypoint, Cmd []string
			Env             []string
			Healthcheck     struct{ Test []string }
			Volumes         map[string]any
		}
	}
	if err := json.Unmarshal(blobs[saved[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"crolang-aio"}) || !slices.Equal(c.Cmd, []string{"serve"}) ||
		!slices.Equal(c.Healthcheck.Test, []string{"CMD", "crolang-aio", "health"}) || c.Volumes["/data"] == nil {
		t.Errorf("the image's settings are not those of the Dockerfile: %+v", c)
	}
	root := t.TempDir()
	layer := filepath.Join(root, "layer.tar.gz")
	if err := errors.Join(os.WriteFile(layer, blobs[saved[0].Layers[0]], 0o600), os.Chmod(root, 0o755)); err != nil {
		t.Fatal(err)
	}
	const inside = `set -eu
tar -xzf layer.tar.gz
rm layer.tar.gz
test "$(stat -c '%a %u' data)" = "700 65532"
test -s LICENSE
test -s NOTICE
grep -q 'BEGIN CERTIFICATE' etc/ssl/certs/ca-certificates.crt
ip link set lo up
chroot=$(command -v chroot)
program="env -i $ENVIRONMENT CROLANG_AIO_PUBLIC_IPV4=127.0.0.1 $chroot --userspec=65532:65532 . /usr/local/bin/crolang-aio"
run() { $program "$@"; }
run version
$program serve 2>log &
pid=$!
for i in $(seq 300); do run health 2>/dev/null && break; sleep 0.1; done
run health || { cat log; exit 1; }
kill $pid
wait $pid
test -s data/credentials.secret
echo the image is good`
	run := exec.Command("unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", inside)
	run.Dir, run.Env = root, append(os.Environ(), "ENVIRONMENT="+strings.Join(c.Env, " "))
	if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "the image is good") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Run("skopeo", func(t *testing.T) { // reads it both as `docker load` and as OCI has it
		needs(t, "skopeo")
		for _, kind := range []string{"docker-archive:" + path + ":" + saved[0].RepoTags[0], "oci-archive:" + path} {
			if out, err := exec.Command("skopeo", "copy", "--insecure-policy", "--quiet", kind, "dir:"+t.TempDir()).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", kind, err, out)
			}
		}
	})
}

// unpacked has the files of a tar by their names.
func unpacked(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for _, c := range [][3]string{
		{"v1.2.3", "abc", "1.2.3"}, {"1.2.3-rc.1", "abc", "1.2.3-rc.1"}, {"v1.2.3-4-gabcdef0", "abc", "1.2.3-4-gabcdef0"},
		{"v1.2.3-dirty", "abc", "1.2.3-dirty"}, {"0fb8155", "0123456789abcdef", "0.0.0-dev.0123456789ab"}, {"dev", "", "0.0.0-dev"},
	} {
		if got := versionOf(c[0], c[1]); got != c[2] {
			t.Errorf("versionOf(%q, %q) is %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

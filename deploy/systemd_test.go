package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/systemd"
)

// unit is a unit file: the values of each key, in order.
func unit(t *testing.T, name string) func(key string) string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(read(t, name)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			all[key] = append(all[key], value)
		}
	}
	return func(key string) string {
		t.Helper()
		if len(all[key]) != 1 {
			t.Fatalf("%s has %s %d times", name, key, len(all[key]))
		}
		return all[key][0]
	}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUnitFitsTheProgram(t *testing.T) {
	service, socket := unit(t, "crolang-aio.service"), unit(t, "crolang-aio-hooks.socket")
	defaults, err := config.Load("", config.WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	// What comes behind the drain takes 25 s at most (supervise.go), and systemd must not cut it off.
	if stop := duration(t, service("TimeoutStopSec")); stop < defaults.DrainTimeout+25*time.Second {
		t.Errorf("TimeoutStopSec is %s, and drain_timeout %s", stop, defaults.DrainTimeout)
	}
	if duration(t, service("WatchdogSec")) < 10*time.Second {
		t.Error("WatchdogSec leaves a busy machine no time")
	}
	if got := socket("ListenStream"); got != defaults.Hooks.Listen {
		t.Errorf("ListenStream is %s, hooks.listen %s", got, defaults.Hooks.Listen)
	}
	if got := socket("FileDescriptorName"); got != systemd.NameHooks {
		t.Errorf("FileDescriptorName is %s, which the program does not know", got)
	}
	if socket("Service") != "crolang-aio.service" || service("Sockets") != "crolang-aio-hooks.socket" {
		t.Error("the two units do not name each other")
	}
	if want := "CROLANG_AIO_DATA_DIR=/var/lib/" + service("StateDirectory"); service("Environment") != want {
		t.Errorf("Environment is %s, want %s", service("Environment"), want)
	}
	if !regexp.MustCompile(`^/\S+/crolang-aio serve --config /\S+$`).MatchString(service("ExecStart")) ||
		service("ExecStartPre") != strings.Replace(service("ExecStart"), " serve ", " config check ", 1) {
		t.Error("ExecStart and ExecStartPre do not go together")
	}
	for key, want := range map[string]string{
		"Type": "notify", "NotifyAccess": "main", "ExecReload": "/bin/kill -HUP $MAINPID", "DynamicUser": "yes", "StateDirectoryMode": "0700",
		"UMask": "0077", "ProtectSystem": "strict", "ProtectHome": "yes", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
		"AmbientCapabilities":    "CAP_NET_BIND_SERVICE",
		"MemoryDenyWriteExecute": "yes", "PrivateDevices": "yes", "PrivateTmp": "yes", "RestrictNamespaces": "yes", "SystemCallArchitectures": "native",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX AF_NETLINK", // AF_UNIX: the notify socket; AF_NETLINK: the addresses of the machine
	} {
		if got := service(key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
}

// A user namespace of its own would take away the capability to bind the ports 443 and 80 again.
func TestUnitMayBindLowPorts(t *testing.T) {
	if strings.Contains(read(t, "crolang-aio.service"), "\nPrivateUsers=") {
		t.Error("PrivateUsers= is set")
	}
}

// systemd itself finds nothing wrong with the units.
func TestUnitsAreGood(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: it comes with Debian's systemd")
	}
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"crolang-aio.service", "crolang-aio-hooks.socket"} {
		text := strings.ReplaceAll(read(t, name), "/usr/local/bin/crolang-aio", "/bin/true") // it must be there
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, files...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", files[0]).CombinedOutput()
	if err != nil {
		t.Errorf("the unit is more exposed than 2.0: %v\n%s", err, out)
	}
}

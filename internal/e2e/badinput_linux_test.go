package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ask calls the admin API and returns what it answers.
func (s *server) ask(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// The disk is full: a ban is in force all the same, and said not to be kept; lifting one from before is refused in one line
// with its remedy. With room again what was not kept is written by itself.
func TestFullDisk(t *testing.T) {
	s := serve(t)
	s.stop(t)
	data := filepath.Join(s.dir, "data")
	own := func(host int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: host, Size: 1}} }
	s.edit = func(c *exec.Cmd) {
		// A small disk of its own, which no other process sees.
		c.Args = []string{"sh", "-c", `mount -t tmpfs -o size=256k none "$1" && shift && exec "$@"`, "sh", data, binary, "serve", "--config", s.config}
		c.Path = "/bin/sh"
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: own(os.Getuid()), GidMappings: own(os.Getgid()),
		}
	}
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: own(os.Getuid()), GidMappings: own(os.Getgid())}
	if err := probe.Run(); err != nil {
		t.Skipf("no namespaces here: %v", err)
	}
	s.start(t)
	if code, text := s.ask(t, "POST", "/api/bans", `{"node":"first"}`); code != http.StatusCreated {
		t.Fatalf("%d %s", code, text)
	}

	name := fmt.Sprintf("/proc/%d/root%s/fill", s.cmd.Process.Pid, data)
	fill, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for n := 0; err == nil && n < 1<<20; n += 1024 { // no more, lest this ever be a real disk
		_, err = fill.Write(make([]byte, 1024))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if code, text := s.ask(t, "POST", "/api/bans", `{"node":"second"}`); code != http.StatusCreated || !strings.Contains(text, `"kept":false`) {
		t.Errorf("on a full disk: %d %s", code, text)
	}
	if out, err := run(t, binary, "ban", "third", "--config", s.config); err != nil || !strings.Contains(out, "banned third; 0 live allocations closed; it is not on the disk") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, text := s.ask(t, "GET", "/api/bans", ""); !strings.Contains(text, `"first"`) || !strings.Contains(text, `"second"`) {
		t.Errorf("bans: %s", text)
	}
	if _, text := s.ask(t, "GET", "/api/status", ""); !strings.Contains(text, `"bans.unkept"`) || !strings.Contains(text, "no space left on device") {
		t.Errorf("status: %s", text)
	}
	var problem struct{ Error string }
	if code, text := s.ask(t, "DELETE", "/api/bans/first", ""); json.Unmarshal([]byte(text), &problem) != nil || code < 500 ||
		strings.Contains(problem.Error, "\n") || !strings.Contains(problem.Error, "no space left on device") {
		t.Errorf("unban: %d %s", code, text)
	}
	if code, text := s.ask(t, "DELETE", "/api/bans/third", ""); code != http.StatusNoContent { // the disk has nothing of it
		t.Errorf("unban: %d %s", code, text)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	_ = fill.Close()
	// It is written by itself, and the finding goes.
	for end := time.Now().Add(time.Minute); ; {
		_, text := s.ask(t, "GET", "/api/status", "")
		if !strings.Contains(text, `"bans.unkept"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("with room again: %s", text)
		}
		time.Sleep(50 * time.Millisecond)
	}
	kept, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s/bans.json", s.cmd.Process.Pid, data))
	if err != nil || !strings.Contains(string(kept), `"first"`) || !strings.Contains(string(kept), `"second"`) || strings.Contains(string(kept), `"third"`) {
		t.Errorf("on the disk: %s %v", kept, err)
	}
	if code, text := s.ask(t, "POST", "/api/bans", `{"node":"fourth"}`); code != http.StatusCreated || !strings.Contains(text, `"kept":true`) {
		t.Errorf("with room again: %d %s", code, text)
	}
}

// What cannot start says so in one line with its remedy, and leaves everything as it was.
func TestCannotStart(t *testing.T) {
	s := serve(t)
	refused := func(edit func(*exec.Cmd), want ...string) {
		t.Helper()
		c := exec.Command(binary, "serve", "--config", s.config)
		if edit != nil {
			edit(c)
		}
		out, err := c.CombinedOutput()
		last := out
		if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); len(lines) > 0 {
			last = []byte(lines[len(lines)-1])
		}
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || strings.Count("\n"+string(out), "\ncrolang-aio: ") != 1 {
			t.Errorf("%v\n%s", err, out)
		}
		for _, w := range want {
			if !strings.Contains(string(last), w) {
				t.Errorf("no %q in %s", w, out)
			}
		}
	}
	t.Run("two on one data_dir", func(*testing.T) { refused(nil, "data_dir", "in use by another crolang-aio: stop that one") })
	s.stop(t)
	before, err := os.ReadFile(filepath.Join(s.dir, "data", "credentials.secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("data_dir of another user", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("only root can run as another user")
		}
		open := t.TempDir()
		for dir := open; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(s.config)
		if err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(open, "test.toml")
		if err := errors.Join(os.WriteFile(config, text, 0o644), os.Mkdir(filepath.Join(open, "data"), 0o700), os.Chmod(filepath.Dir(binary), 0o755)); err != nil {
			t.Fatal(err)
		}
		refused(func(c *exec.Cmd) {
			c.Args[len(c.Args)-1] = config
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}, "belongs to the user with id 0, and this is the one with id 65534: chown -R it")
	})
	if after, err := os.ReadFile(filepath.Join(s.dir, "data", "credentials.secret")); err != nil || string(after) != string(before) {
		t.Errorf("the secret is another one: %v", err)
	}
}

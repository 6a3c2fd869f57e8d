package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shell is an interactive one on a terminal of its own.
type shell struct {
	t    *testing.T
	term *os.File
	cmd  *exec.Cmd
	mu   sync.Mutex
	seen bytes.Buffer
	more chan struct{}
}

// openTerminal makes a pseudo-terminal; the caller closes both ends.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func openShell(t *testing.T, dir string, args ...string) *shell {
	t.Helper()
	master, slave := openTerminal(t)
	s := &shell{t: t, term: master, cmd: exec.Command(args[0], args[1:]...), more: make(chan struct{}, 1)}
	s.cmd.Dir, s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = dir, slave, slave, slave
	s.cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "TERM=dumb",
		"PS1=ready> ", "HISTFILE=")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.seen.Write(buf[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		master.Close()
		<-read
	})
	return s
}

// send writes keys, and waits for the text on the screen behind what was there before.
func (s *shell) send(keys, want string) {
	s.t.Helper()
	s.mu.Lock()
	from := s.seen.Len()
	s.mu.Unlock()
	if _, err := s.term.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
	for end := time.After(30 * time.Second); ; {
		s.mu.Lock()
		text := s.seen.String()
		s.mu.Unlock()
		if strings.Contains(text[from:], want) {
			return
		}
		select {
		case <-s.more:
		case <-end:
			s.t.Fatalf("%q brought no %q but %q", keys, want, text[from:])
		}
	}
}

// The completions work in the shells themselves.
func TestCompletionInShells(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "crolang-aio"), "../..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "own.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]struct {
		args []string
		load string
	}{
		"bash": {[]string{"bash", "--norc", "--noprofile", "-i"}, ". <(crolang-aio completion bash); echo lo''aded\n"},
		"zsh":  {[]string{"zsh", "-f", "-i"}, "autoload -U compinit; compinit -u; source <(crolang-aio completion zsh); echo lo''aded\n"},
		"fish": {[]string{"fish", "--no-config", "-i"}, "crolang-aio completion fish | source; echo lo''aded\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			s := openShell(t, dir, start.args...)
			s.send(start.load, "loaded")
			s.send("crolang-aio comp\t", "completion")
			s.send("fi\t", "sh")
			s.send("\n", "complete -c crolang-aio") // what was completed is a command that works
			s.send("crolang-aio config ch\t", "check")
			s.send("--conf\t", "--config")
			s.send("own\t", "own.toml")
			s.send("\n", "ok")
		})
	}
}

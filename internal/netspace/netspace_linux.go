package netspace

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Space is a network namespace, and a thread that lives in it until the test ends. Make it with [New].
type Space struct {
	testing.TB
	Tid   int // the thread's, by which ip(8) takes an interface there: netns TID
	tasks chan func()
}

// New makes a namespace that is empty but for a loopback interface that is down.
func New(t testing.TB) *Space {
	t.Helper()
	s := &Space{TB: t, tasks: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		s.Tid = unix.Gettid()
		made <- err
		for task := range s.tasks {
			task()
		}
	}()
	err := <-made
	t.Cleanup(func() { close(s.tasks); <-ended })
	if err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	return s
}

// In runs f with the sockets and processes that it makes in the namespace, and returns when it has returned.
func (s *Space) In(f func()) {
	done := make(chan struct{})
	s.tasks <- func() { defer close(done); f() }
	<-done
}

// Run is the function Run in the namespace.
func (s *Space) Run(line string) {
	s.Helper()
	var err error
	s.In(func() { err = run(line) })
	if err != nil {
		s.Fatal(err)
	}
}

// Run runs a command of words without spaces, which must succeed.
func Run(t testing.TB, line string) {
	t.Helper()
	if err := run(line); err != nil {
		t.Fatal(err)
	}
}

func run(line string) error {
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil { //nolint:gosec // a test's
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}

// Needs are what a test that is [Alone] asks for.
type Needs struct {
	Programs map[string]string // and the packages of Debian that have them, beside ip
	Ready    func() error      // says what else is missing, if anything
	Parallel bool              // the test mostly waits, and may run beside others
	Args     []string          // for its process
}

// Alone runs the test in a process and a network namespace of its own, with its loopback interface up, and reports whether
// this is that process. Where something is missing it skips the test and says what.
func Alone(t *testing.T, n Needs) bool {
	t.Helper()
	const mark = "CROLANG_AIO_ALONE"
	if os.Getenv(mark) == t.Name() {
		Run(t, "ip link set lo up")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip (Debian: apt install iproute2)")
	}
	for name, of := range n.Programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s (Debian: apt install %s)", name, of)
		}
	}
	if err := n.Ready(); err != nil {
		t.Skip(err)
	}
	if n.Parallel {
		t.Parallel()
	}
	args := append([]string{"-test.run", "^" + t.Name() + "$", "-test.v=" + fmt.Sprint(testing.Verbose()), "-test.timeout", "2h"}, n.Args...)
	cmd := exec.Command(os.Args[0], args...) //nolint:gosec // this test once more
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

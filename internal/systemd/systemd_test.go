//go:build unix

package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// supervisor is a notify socket; its messages are read with next.
func supervisor(t *testing.T, name string) (next func() string) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return func() string {
		t.Helper()
		buf := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestNotify(t *testing.T) {
	for kind, name := range map[string]string{
		"path": filepath.Join(t.TempDir(), "notify"), "abstract": fmt.Sprintf("@crolang-aio-test-%d", os.Getpid()),
	} {
		t.Run(kind, func(t *testing.T) {
			next := supervisor(t, name)
			t.Setenv("NOTIFY_SOCKET", name)
			t.Setenv("WATCHDOG_USEC", "30000000")
			t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
			n, err := NewNotifier()
			if err != nil || n.Watchdog() != 30*time.Second {
				t.Fatalf("%+v, %v", n, err)
			}
			for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
				if _, set := os.LookupEnv(v); set {
					t.Errorf("%s is left to children", v)
				}
			}
			for want, send := range map[string]func() error{
				"READY=1\nSTATUS=2 live": func() error { return n.Ready("2 live") },
				"STATUS=two lines":       func() error { return n.Status("two\nlines") },
				"WATCHDOG=1":             n.Alive,
				"STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=2500000": func() error { return n.Stopping("Draining", 2500*time.Millisecond) },
			} {
				if err := send(); err != nil {
					t.Error(err)
				}
				if got := next(); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
			before := monotonic()
			if err := n.Reloading(); err != nil {
				t.Error(err)
			}
			usec, ok := strings.CutPrefix(next(), "RELOADING=1\nMONOTONIC_USEC=")
			at, err := strconv.ParseInt(usec, 10, 64)
			if !ok || err != nil || at < before.Microseconds() || at > monotonic().Microseconds() {
				t.Errorf("RELOADING at %q", usec)
			}
		})
	}
}

func TestNotifierEnvironment(t *testing.T) {
	for _, c := range []struct {
		socket, usec, pid string
		none, bad         bool
		watchdog          time.Duration
	}{
		{none: true},
		{usec: "5", none: true},
		{socket: "/run/notify"},
		{socket: "/run/notify", usec: "100000", watchdog: 100 * time.Millisecond},
		{socket: "/run/notify", usec: "5", pid: "1"},
		{socket: "/run/notify", usec: "0", bad: true},
		{socket: "/run/notify", usec: "99999", bad: true},
		{socket: "/run/notify", usec: "9223372036854775807", bad: true},
		{socket: "/run/notify", usec: "soon", bad: true},
		{socket: "vsock:2:1234", bad: true},
		{socket: "@", bad: true},
	} {
		t.Setenv("NOTIFY_SOCKET", c.socket)
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		n, err := NewNotifier()
		if (err != nil) != c.bad || (n == nil) != (c.none || c.bad) || n.Watchdog() != c.watchdog {
			t.Errorf("%+v: %+v, %v", c, n, err)
		}
	}
}

func TestWithoutASupervisor(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Alive(); err == nil {
		t.Error("a supervisor that is gone was told")
	}
	if err := (*Notifier)(nil).Alive(); err != nil {
		t.Error(err)
	}
	var s *Sockets
	if s.Take(NameHooks, ":0") != nil || s.Close() != nil {
		t.Error("there are sockets where none are")
	}
}

// The sockets are passed to this test's program, started anew, as systemd does: from descriptor 3 on. What it makes of
// them is its output.
func TestMain(m *testing.M) {
	if os.Getenv("SYSTEMD_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("LISTEN_PID") == "self" {
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	s, err := NewSockets()
	if err != nil {
		fmt.Println(err, errors.Is(err, ErrSockets))
		return
	}
	for name, listen := range map[string][]string{NameHooks: {os.Getenv("LISTEN")}, NameTURN: {"127.0.0.1:1", "127.0.0.1:2"}} {
		for _, l := range s.Take(name, listen...) {
			fmt.Printf("%s=%s\n", name, l.Addr())
			c, err := l.Accept()
			if err != nil {
				fmt.Println(err)
				continue
			}
			_, _ = c.Write([]byte("ok"))
			_ = c.Close()
			_ = l.Close()
		}
	}
	if err := s.Close(); err != nil {
		fmt.Println(err)
	}
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if _, set := os.LookupEnv(v); set {
			fmt.Println(v, "is left to children")
		}
	}
}

// child passes the files and returns what the child says.
func child(t *testing.T, listen, names string, files []*os.File, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "SYSTEMD_TEST_CHILD=1", "LISTEN="+listen, "LISTEN_PID=self", fmt.Sprint("LISTEN_FDS=", len(files)))
	if names != "" {
		cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+names)
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func tcp(t *testing.T) (addr string, file *os.File) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(); _ = f.Close() })
	// One client waits for the child, so that its Accept reports whether the socket works.
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return l.Addr().String(), f
}

func TestSockets(t *testing.T) {
	addr, file := tcp(t)
	other, otherFile := tcp(t)
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	udp, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	t.Run("by name", func(t *testing.T) {
		_, f := tcp(t)
		if out := child(t, "127.0.0.1:1", "hooks", []*os.File{f}); !strings.HasPrefix(out, "hooks=127.0.0.1:") || strings.Count(out, "\n") != 1 {
			t.Error(out)
		}
	})
	t.Run("by address", func(t *testing.T) {
		if out := child(t, addr, "crolang-aio.socket", []*os.File{file}); out != "hooks="+addr+"\n" {
			t.Error(out)
		}
	})
	t.Run("nobody's are named", func(t *testing.T) {
		out := child(t, addr, "admin::turn", []*os.File{file, otherFile, udp})
		for _, want := range []string{`3 ("admin", tcp ` + addr + ")", `4 ("", tcp ` + other + ")", `5 ("turn", udp ` + u.LocalAddr().String() + ")"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q says nothing of %q", out, want)
			}
		}
		if strings.Count(out, "\n") != 1 {
			t.Error(out)
		}
	})
	t.Run("of another process", func(t *testing.T) {
		if out := child(t, addr, "", []*os.File{file}, "LISTEN_PID=1"); out != "" {
			t.Error(out)
		}
	})
	for name, env := range map[string]string{"count": "LISTEN_FDS=many", "names": "LISTEN_FDNAMES=a:b"} {
		t.Run("wrong "+name, func(t *testing.T) {
			if out := child(t, addr, "", []*os.File{file}, env); !strings.HasSuffix(out, " true\n") || strings.Count(out, "\n") != 1 {
				t.Error(out)
			}
		})
	}
	t.Run("no descriptor", func(t *testing.T) {
		if out := child(t, "127.0.0.1:1", "", []*os.File{file}, "LISTEN_FDS=3"); !strings.Contains(out, `("", no socket)`) {
			t.Error(out)
		}
	})
}

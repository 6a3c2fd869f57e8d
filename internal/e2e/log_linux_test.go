package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Whoever reads the log does not hold the server up, nor end it, when it hangs or goes.
func TestLogReader(t *testing.T) {
	for _, c := range []struct {
		name string
		full bool
	}{{"hangs", true}, {"goes", false}} {
		t.Run(c.name, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "log")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			reader := must(os.OpenFile(fifo, os.O_RDWR|syscall.O_NONBLOCK, 0))(t)
			defer reader.Close()
			if c.full {
				block := make([]byte, 4096)
				_ = reader.SetWriteDeadline(time.Now().Add(time.Second))
				for {
					if _, err := reader.Write(block); errors.Is(err, os.ErrDeadlineExceeded) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
				}
			}
			s := serveWith(t, func(s *server) {
				s.edit = func(cmd *exec.Cmd) {
					cmd.Args[2] = `exec 2>"$LOG"; ` + cmd.Args[2]
					cmd.Env = append(cmd.Env, "LOG="+fifo)
				}
			})
			if !c.full {
				if err := reader.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil { // says what it did
					t.Fatal(err)
				}
			}
			must(s.client(t, "udp", "alice").Allocate(patiently(t), nil))(t)
			s.credentials(t, "bob")
			began := time.Now()
			s.stop(t)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("ended after %v", took)
			}
		})
	}
}

//go:build unix

package turnsrv

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const lowOnFiles = "TURNSRV_TEST_LOW_ON_FILES"

// TestLowOnFiles is SECURITY case 4. The limit of open files holds for a whole process, so it has one of its own.
func TestLowOnFiles(t *testing.T) {
	if os.Getenv(lowOnFiles) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLowOnFiles$", "-test.v")
		cmd.Env = append(os.Environ(), lowOnFiles+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 128, Max: 128}); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, streamsConfig{TCP: true})
	if s.cfg.Connections != 32 {
		t.Errorf("room for %d connections", s.cfg.Connections)
	}
	live := s.relayed("127.0.0.2")

	files := useUp(t)
	_ = files[0].Close()
	waiting := s.dialTCP(s.tcp[0], "") // takes the one that is left, and the server has none
	until(t, "the server has said so", func() bool { return strings.Contains(s.log.String(), "cannot accept connections") })
	s.mustAsk(live)
	for _, f := range files[1:] {
		_ = f.Close()
	}
	s.mustAsk(waiting)

	// One that has said nothing gives way to one that waits.
	silent := s.dialTCP(s.tcp[0], "")
	until(t, "it is accepted", func() bool { return s.stats().HalfOpen == 1 })
	files = useUp(t)
	_ = files[0].Close()
	next := s.dialTCP(s.tcp[0], "")
	s.mustAsk(next)
	s.mustBeReset(silent, patience)
	for _, f := range files[1:] {
		_ = f.Close()
	}

	// More clients than there is room for: a newcomer takes a stranger's place, and the one with an allocation suffers nothing.
	var crowd []net.Conn
	for i := range 40 {
		c := s.dialTCP(s.tcp[0], fmt.Sprintf("127.1.%d.1", i))
		crowd = append(crowd, c)
		if err := ask(c, 2); err != nil {
			t.Fatal(err)
		}
	}
	s.mustAsk(live)
	if got := s.stats(); got.Open != 32 || got.Displaced < 11 || got.Refused() != 0 {
		t.Errorf("counted %+v", got)
	}
	for _, c := range append(crowd, waiting, next) {
		_ = c.Close()
	}
	until(t, "their places are given back", func() bool { return s.stats().Open == 1 })
	s.mustAsk(s.dialTCP(s.tcp[0], ""))
	if n := strings.Count(s.log.String(), "\n"); n != 1 {
		t.Errorf("%d lines are logged: %s", n, s.log)
	}
}

// useUp opens files until there are none left.
func useUp(t *testing.T) (files []*os.File) {
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
}

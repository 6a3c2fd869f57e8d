//go:build unix

package acme

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command that hangs is killed when its time is over, and so is what it has started, whoever keeps its pipes.
func TestHangingCommand(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"hangs":           "sleep 1000 & echo $! >" + dir + "/child; echo waiting >&2; sleep 1000",
		"leaves children": "sleep 1000 & echo $! >" + dir + "/child; echo done >&2; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			said, err := run(ctx, file)
			if err == nil || time.Since(begun) > 10*time.Second || said != "waiting" && said != "done" {
				t.Errorf("%v after %s, said %q", err, time.Since(begun), said)
			}
			b, err := os.ReadFile(filepath.Join(dir, "child"))
			if err != nil {
				t.Fatal(err)
			}
			child, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(10 * time.Second); alive(child); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("a child lives on")
				}
			}
		})
	}
}

// alive reports whether a process runs: one that nobody has waited for yet does not.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || !strings.Contains(string(b), ") Z ")
}

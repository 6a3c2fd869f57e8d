//go:build unix

package watch

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A pipe is not opened, which would wait for a writer.
func TestPipe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Skip(err)
	}
	w := New(time.Hour)
	w.Add(file)
	if w.round(file) {
		t.Error("a pipe has changed")
	}
}

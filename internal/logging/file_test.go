package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

func openFile(t *testing.T, c FileConfig, or *logtest.Buffer) *File {
	t.Helper()
	f, err := OpenFile(c, or)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Reopen) // closes it
	return f
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// A log in a file is closed to others, is begun anew at its size, and keeps as many as it should.
func TestLogFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "log.json")
	f := openFile(t, FileConfig{Path: path, Size: 1 << 20, Files: 1}, &logtest.Buffer{})
	log := newLog(t, f, "auto")
	for i := range 3500 { // somewhat more than 3 MiB
		log.Info("record", "n", i, "text", strings.Repeat("x", 1000))
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 || st.Size() > 1<<20 {
		t.Errorf("%v, %v", st, err)
	}
	if last := lines(t, path); !strings.HasPrefix(last[0], "{") || !strings.Contains(last[len(last)-1], `"n":3499`) {
		t.Error(last[0], last[len(last)-1])
	}
	for { // older ones are removed behind
		all, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 2 {
			break
		}
	}
}

// What the file does not take goes to the second writer; once it takes records again, each has a line of its own.
func TestLogFileThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var or logtest.Buffer
	f := openFile(t, FileConfig{Path: path, Size: 1 << 20}, &or)
	fmt.Fprintln(f, "one")
	long := bytes.Repeat([]byte("x"), 2<<20)
	if n, err := f.Write(long); n != len(long) || err != nil || len(or.String()) != n || f.Trouble() == nil {
		t.Fatal(n, err, len(or.String()), f.Trouble())
	}
	fmt.Fprintln(f, "two")
	if f.Trouble() != nil {
		t.Error(f.Trouble())
	}
	if got := lines(t, path); strings.Join(got, "|") != "one||two" {
		t.Errorf("%q", got)
	}
}

func TestLogFileReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, FileConfig{Path: path, Size: 1 << 20}, &logtest.Buffer{})
	fmt.Fprintln(f, "one")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Skip("this system renames no open file: ", err)
	}
	f.Reopen()
	fmt.Fprintln(f, "two")
	if got := append(lines(t, path+".old"), lines(t, path)...); strings.Join(got, "|") != "one|two" {
		t.Errorf("%q", got)
	}
}

func TestLogFileRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "is no regular file",
		os.DevNull:                    "is no regular file",
		filepath.Join(file, "below"):  "cannot be written: ",
		filepath.Join(dir, "\x00bad"): "cannot be written: ",
	} {
		_, err := OpenFile(FileConfig{Path: path, Size: 1 << 20}, &logtest.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", path, err)
		}
		var twice *fs.PathError
		if errors.As(err, &twice) {
			t.Errorf("%q: the path is there twice: %v", path, err)
		}
	}
}

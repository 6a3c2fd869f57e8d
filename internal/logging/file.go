package logging

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

// FileConfig is a log that is kept in a file.
type FileConfig struct {
	Path  string        // of the file that is written; its folder is made if need be
	Size  int64         // bytes at which it is renamed and a new one begun; whole MiB, at least one
	Age   time.Duration // for which renamed ones are kept; 0: for good
	Files int           // how many renamed ones are kept; 0: all
}

// File is what a log is written to if it is kept in a file. What the file does not take, since the disk is full say, goes to a
// second writer, and nobody waits for it. It is safe for concurrent use, and is open for as long as the process runs.
type File struct {
	path string
	or   io.Writer

	mu      sync.Mutex
	to      *lumberjack.Logger
	trouble error // with the last record
}

// OpenFile makes sure that the file can be written, with mode 0600 if it is new. What it does not take later goes to or.
func OpenFile(c FileConfig, or io.Writer) (*File, error) {
	if err := CheckFile(c.Path); err != nil {
		return nil, err
	}
	err := os.MkdirAll(filepath.Dir(c.Path), 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(c.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the log %s cannot be written: %w", c.Path, durable.Bare(err))
	}
	return &File{path: c.Path, or: or, to: &lumberjack.Logger{
		Filename: c.Path, MaxSize: int(c.Size >> 20), MaxAge: int((c.Age + 24*time.Hour - 1) / (24 * time.Hour)), MaxBackups: c.Files, LocalTime: true,
	}}, nil
}

// CheckFile finds what cannot be a log: a folder, or a device, which would be renamed like a file.
func CheckFile(path string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("the log %s cannot be written: %w", path, durable.Bare(err))
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file, and could not be renamed when it is full: name a file", path)
	}
	return nil
}

// Write writes a record, which the second writer gets if the file does not take it.
func (f *File) Write(record []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	begun := record
	if f.trouble != nil { // part of an earlier record may be there
		begun = append([]byte{'\n'}, record...)
	}
	if _, f.trouble = f.to.Write(begun); f.trouble != nil {
		return f.or.Write(record)
	}
	return len(record), nil
}

// Reopen has the next record open the file again: somebody may have renamed it.
func (f *File) Reopen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.to.Close() // of a file that has been written: the records are there
}

// Path is that of the file.
func (f *File) Path() string { return f.path }

// Trouble is why the file did not take the last record; nil: it did.
func (f *File) Trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble
}

package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxFile bounds what is read: a long chain is some 20 kB.
const maxFile = 1 << 20

// loadGiven reads and checks the operator's pair.
func loadGiven(certFile, keyFile string, now time.Time) (*pair, error) {
	raw, err := readGiven(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return raw.parse(now)
}

func readGiven(certFile, keyFile string) (rawPair, error) {
	r := rawPair{certFile: certFile, keyFile: keyFile}
	var err error
	if r.cert, _, err = readFile(certFile); err != nil {
		return r, err
	}
	var mode fs.FileMode
	if r.key, mode, err = readFile(keyFile); err != nil {
		return r, err
	}
	r.keyOpen = mode&0o004 != 0
	return r, nil
}

// readFile reads a regular file, through symbolic links. Anything else (a
// pipe, say) could block, and is refused.
func readFile(name string) ([]byte, fs.FileMode, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, 0, unreadable(name, err)
	}
	if !st.Mode().IsRegular() {
		return nil, 0, &problem{kind: ErrUnreadable, file: name, what: "is not a file", remedy: "give a PEM file"}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, unreadable(name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, 0, unreadable(name, err)
	}
	if len(b) > maxFile {
		return nil, 0, &problem{kind: ErrUnreadable, file: name, what: "is larger than 1 MiB", remedy: "give a PEM file"}
	}
	return b, st.Mode(), nil
}

func unreadable(name string, err error) error {
	p := &problem{kind: ErrUnreadable, file: name, what: bare(err), remedy: "check the file", cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.remedy = "check the path, or put the file there"
	case errors.Is(err, fs.ErrPermission):
		p.remedy = fmt.Sprintf("let the user with id %d read it", os.Geteuid())
	}
	return p
}

// bare is the operating system's words, without the path that the message
// names already.
func bare(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err.Error()
	}
	return oneLine(err)
}

// store writes a whole file or nothing: all of it goes to a second file, to the
// disk, and then under its name. A crash leaves the old file or the new one,
// and at worst a second file that the next store overwrites.
func store(name string, data []byte) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unstorable(dir, err)
	}
	staged := name + ".new"
	defer func() {
		if err != nil {
			os.Remove(staged) // what is left of a full disk
			err = unstorable(name, err)
		}
	}()
	// A leftover may have any mode or be a link: start from nothing.
	if err := os.Remove(staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(staged, name); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename last. Some file systems cannot; the rename is whole
// all the same.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

func unstorable(name string, err error) error {
	p := &problem{kind: ErrStore, file: name, what: "the self-signed certificate cannot be kept here: " + bare(err),
		remedy: "give a folder that can be written", cause: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		p.remedy = "free some space"
	case errors.Is(err, fs.ErrPermission):
		p.remedy = fmt.Sprintf("give the folder to the user with id %d, or choose another", os.Geteuid())
	}
	return p
}

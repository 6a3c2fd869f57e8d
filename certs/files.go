package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

// maxFile bounds what is read: a long chain is some 20 kB.
const maxFile = 1 << 20

// files is the source of a pair that the operator gives.
type files struct{ certFile, keyFile string }

func (f *files) kind() Kind { return Files }

// look reads the pair. It is another one if any byte of it is.
func (f *files) look(current *pair, _ view) (*pair, error) {
	raw, err := readGiven(f.certFile, f.keyFile)
	if err != nil || current != nil && raw.sum() == current.sum {
		return nil, err
	}
	return raw.parse()
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

// readFile reads a regular file, through symbolic links. Anything else (a pipe, say) could block, and is refused.
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

// bare is the operating system's words, without the path that the message names already.
func bare(err error) string {
	return oneLine(durable.Bare(err))
}

// store writes a whole file or nothing, see [durable.Write]. It makes the folder if it is missing.
func store(name string, data []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unstorable(dir, err)
	}
	if err := durable.WriteFile(name, data, 0o600); err != nil {
		return unstorable(name, err)
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

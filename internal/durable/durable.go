// Package durable replaces whole files so that a crash or a full disk leaves either the old content or the new one. It
// imports nothing of this module.
package durable

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrUnsynced is returned when the new content is in place but its folder could not be brought to the disk: a power cut may
// bring the old content back.
var ErrUnsynced = errors.New("the folder could not be brought to the disk")

// WriteFile replaces the file at path with data, as [Write] does.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Write replaces the file at path with what write writes; perm is the new file's mode, before the umask. Everything goes
// to a temporary file beside it, is brought to the disk and then renamed, and the folder is brought to the disk too. With
// any error but [ErrUnsynced] the file is as it was, and nothing is left behind. Whoever writes the same path from several
// goroutines must not do so at once. Errors are those of package os, and whatever write returned.
func Write(path string, perm fs.FileMode, write func(w io.Writer) error) error {
	temp := temporary(path)
	err := stage(temp, perm, write)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // what a full disk took of it
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsynced, err)
	}
	return nil
}

// Sweep removes what a process that was killed in the middle of a [Write] to path has left.
func Sweep(path string) error {
	if err := os.Remove(temporary(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Bare is what the operating system says, without the path that an error of package os repeats: a message has named it already,
// or must not, since it may be a secret in the wrong place.
func Bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}

// temporary has one name for each path, so that what a crash leaves is overwritten by the next Write.
func temporary(path string) string { return path + ".tmp" }

func stage(temp string, perm fs.FileMode, write func(w io.Writer) error) (err error) {
	// A leftover may have any mode, or be a link: start from nothing.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer func() {
		if closing := file.Close(); err == nil {
			err = closing
		}
	}()
	w := bufio.NewWriterSize(file, 64<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Sync()
}

// syncDir makes a rename last. Some file systems cannot do it; the rename is whole all the same.
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

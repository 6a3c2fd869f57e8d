package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

const (
	// stageName is the folder that a backup is unpacked in. One that is there was left by a restore that was killed.
	stageName = "restore" + tempSuffix
	// lostName is a folder that file systems have of their own.
	lostName = "lost+found"
)

// Restore brings a backup back into the folder at dataDir, which it makes (0700) if it is missing, and which no process may
// be using. It overwrites nothing: with [ErrExists], which is also for a link or an empty folder that is there, nothing has
// been written. The whole backup is read, and then written beside, before anything of it is in its place; with any error nothing of it is
// left. No link in the folder is followed.
func Restore(dataDir, file string) (m Manifest, err error) {
	m, files, err := readBackup(file)
	if err != nil {
		return m, err
	}
	if err := inTheWay(os.DirFS(dataDir), dataDir); errors.Is(err, ErrExists) { // before a lock is put there
		return m, err
	}
	dir, err := Open(dataDir)
	if err != nil {
		return m, err
	}
	defer dir.Close()
	root, err := os.OpenRoot(dataDir)
	if err != nil {
		return m, fmt.Errorf("data_dir %s cannot be read: %w", dataDir, durable.Bare(err))
	}
	defer root.Close()
	if err := inTheWay(root.FS(), dataDir); err != nil {
		return m, err
	}
	if err := unpack(root, files); err != nil {
		return m, fmt.Errorf("data_dir %s cannot be written: %w", dataDir, err)
	}
	return m, nil
}

// inTheWay is [ErrExists] if there is anything but what Restore may find.
func inTheWay(folder fs.FS, dataDir string) error {
	there, err := fs.ReadDir(folder, ".")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data_dir %s cannot be read: %w", dataDir, durable.Bare(err))
	}
	var names []string
	for _, e := range there {
		if e.Name() != lockName && (!e.IsDir() || e.Name() != lostName && e.Name() != stageName) {
			names = append(names, e.Name())
		}
	}
	switch n := len(names); {
	case n == 0:
		return nil
	case n > 3:
		names = append(names[:3], fmt.Sprintf("%d more", n-3))
	}
	return &occupied{fmt.Errorf("data_dir %s is not empty, and a restore overwrites nothing: it has %s; move it away (mv %s %s.old), or set another data_dir",
		dataDir, strings.Join(names, ", "), dataDir, strings.TrimRight(dataDir, "/"))}
}

// occupied is [ErrExists] of a whole folder.
type occupied struct{ error }

func (*occupied) Is(target error) bool { return target == ErrExists }

// unpack writes files into a folder of root's, moves them to where they belong once all of them are there, and brings all of
// it to the disk.
func unpack(root *os.Root, files []backedUp) (err error) {
	if err := root.RemoveAll(stageName); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(stageName)) }()
	if err := root.Mkdir(stageName, 0o700); err != nil {
		return err
	}
	folders := map[string]bool{stageName: true}
	for _, f := range files {
		to := path.Join(stageName, f.name)
		for in := path.Dir(to); !folders[in]; in = path.Dir(in) {
			folders[in] = true
		}
		if err := root.MkdirAll(filepath.FromSlash(path.Dir(to)), 0o700); err != nil {
			return err
		}
		if err := create(root, filepath.FromSlash(to), f.data); err != nil {
			return err
		}
	}
	for in := range folders {
		if err := syncFolder(root, filepath.FromSlash(in)); err != nil {
			return err
		}
	}
	return move(root, files)
}

// move moves what is in the stage to where it belongs, all or nothing.
func move(root *os.Root, files []backedUp) (err error) {
	moved := map[string]bool{}
	defer func() {
		if err != nil {
			for top := range moved {
				err = errors.Join(err, root.RemoveAll(top))
			}
		}
	}()
	for _, f := range files {
		top, _, _ := strings.Cut(f.name, "/")
		if moved[top] {
			continue
		}
		if err := root.Rename(filepath.Join(stageName, top), top); err != nil {
			return err
		}
		moved[top] = true
	}
	return syncFolder(root, ".")
}

// create writes a file (0600) that is not there yet.
func create(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes what is in a folder last. Some file systems cannot do it, nor can Windows.
func syncFolder(root *os.Root, folder string) error {
	d, err := root.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

package datadir

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

const (
	// backupName is the first entry of a backup, which says what it is.
	backupName    = "crolang-aio-backup.json"
	backupVersion = 1
	maxBackedUp   = 1 << 30 // bytes of one file
	tempSuffix    = ".tmp"  // of files in the making
)

var (
	// ErrExists says that something is in the way of a backup, or of what it would bring back.
	ErrExists = errors.New("is there already, and is not overwritten")
	// ErrNoBackup says that a file is not what Backup has written.
	ErrNoBackup = errors.New("is no backup of crolang-aio, or is damaged")
)

// Manifest describes a backup.
type Manifest struct {
	Format  int       `json:"format"`
	Program string    `json:"program"` // version of the program that made it
	Made    time.Time `json:"made"`
	Files   int       `json:"files"`
}

// Backup writes the files of the folder at path into a new file (0600), a tar compressed with gzip, and returns how many
// there are. The folder may be in use: its files are replaced whole ([durable.Write]), and a database is read again while it is written, so
// that each is copied as it was at some moment. Files in the making and the lock are left out.
func Backup(path, file, program string) (int, error) {
	names, err := contents(path)
	if err != nil {
		return 0, fmt.Errorf("data_dir %s cannot be read: %w", path, durable.Bare(err))
	}
	if _, err := os.Lstat(file); err == nil {
		return 0, fmt.Errorf("%s %w: give the backup another name", file, ErrExists)
	}
	n := 0
	err = durable.Write(file, 0o600, func(w io.Writer) error {
		z := gzip.NewWriter(w)
		t := tar.NewWriter(z)
		head, err := json.Marshal(Manifest{backupVersion, program, time.Now().UTC(), len(names)})
		if err != nil {
			return err
		}
		if err := add(t, backupName, head, time.Now()); err != nil {
			return err
		}
		for _, name := range names {
			data, at, err := settled(filepath.Join(path, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed a moment ago
			}
			if err != nil {
				return err
			}
			if err := add(t, name, data, at); err != nil {
				return err
			}
			n++
		}
		return errors.Join(t.Close(), z.Close())
	})
	if err != nil {
		return 0, fmt.Errorf("the backup %s cannot be written: %w", file, err)
	}
	return n, nil
}

// settled reads a file, again if it was written meanwhile: usage.db alone is written in place, once a minute, and never over
// what its last transaction needs, and audit.jsonl grows at its end.
func settled(path string) (data []byte, at time.Time, err error) {
	for range 50 {
		before, err := os.Stat(path)
		if err != nil {
			return nil, at, err
		}
		if data, err = os.ReadFile(path); err != nil {
			return nil, at, err
		}
		after, err := os.Stat(path)
		if err != nil {
			return nil, at, err
		}
		if at = after.ModTime(); at.Equal(before.ModTime()) && int64(len(data)) == after.Size() {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return data, at, nil
}

// contents are the files of a folder and of those below it that a backup has, by their paths from it.
func contents(folder string) (names []string, err error) {
	err = filepath.WalkDir(folder+string(filepath.Separator), func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(folder, at)
		if err != nil || name == lockName || strings.HasSuffix(name, tempSuffix) {
			return err
		}
		names = append(names, name)
		return nil
	})
	return names, err
}

func add(t *tar.Writer, name string, data []byte, at time.Time) error {
	h := tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(data)), ModTime: at.Round(time.Second), Typeflag: tar.TypeReg}
	if err := t.WriteHeader(&h); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

// backedUp is a file of a backup.
type backedUp struct {
	name string
	data []byte
}

// readBackup reads a whole backup.
func readBackup(file string) (m Manifest, files []backedUp, err error) {
	f, err := os.Open(file)
	if err != nil {
		return m, nil, fmt.Errorf("the backup %s cannot be read: %w", file, durable.Bare(err))
	}
	defer f.Close()
	damaged := func(why any) error { return fmt.Errorf("%s %w (%v)", file, ErrNoBackup, why) }
	z, err := gzip.NewReader(f)
	if err != nil {
		return m, nil, damaged(err)
	}
	seen := map[string]bool{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, nil, damaged(err)
		}
		if h.Typeflag != tar.TypeReg || !isBackedUp(h.Name) || h.Size > maxBackedUp || seen[h.Name] {
			return m, nil, damaged("it has an entry that no backup has")
		}
		seen[h.Name] = true
		data, err := io.ReadAll(io.LimitReader(t, maxBackedUp))
		if err != nil {
			return m, nil, damaged(err)
		}
		if m.Format == 0 {
			if h.Name != backupName || json.Unmarshal(data, &m) != nil || m.Format < 1 {
				return m, nil, damaged("it does not begin with what a backup begins with")
			}
			if m.Format > backupVersion {
				return m, nil, fmt.Errorf("%s was made by crolang-aio %s, whose backups this version cannot read: use that version, or a later one", file, m.Program)
			}
			continue
		}
		files = append(files, backedUp{h.Name, data})
	}
	if m.Format == 0 {
		return m, nil, damaged("it is empty")
	}
	return m, files, nil
}

// isBackedUp reports whether a file of that name, with slashes, may be in a backup.
func isBackedUp(name string) bool {
	return filepath.IsLocal(filepath.FromSlash(name)) && path.Clean(name) == name && name != lockName && name != lostName && !strings.HasSuffix(name, tempSuffix)
}

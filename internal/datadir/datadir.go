// Package datadir owns the folder of the configuration's data_dir: it makes it, locks it for one process, and keeps the
// generated secrets in it.
package datadir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

// The names of the generated secrets.
const (
	CredentialSecret = "credentials.secret"
	HooksToken       = "hooks.token"
	AdminToken       = "admin.token"
	RedisPassword    = "redis.password"
)

// lockName is the file that is locked.
const lockName = "lock"

const secretBytes = 32 // 256 bits

var (
	// ErrLocked says that another process holds the folder.
	ErrLocked = errors.New("in use by another crolang-aio: stop that one, or give this one another data_dir")
	// ErrMissing says that a secret has not been made yet.
	ErrMissing = errors.New("not made yet: start `crolang-aio serve` once, or set it in the configuration")
)

// Dir is a folder held by this process. It is not safe for concurrent use.
type Dir struct {
	path   string
	lock   *os.File
	last   time.Time
	closed []string // see Closed
}

// Open makes the folder (0700) if it is missing and locks it. Root does not take the folder of another user, who would
// have chosen the secrets. The caller closes it.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir %s cannot be made: %w", path, durable.Bare(err))
	}
	uid, other := otherOwner(path)
	if other && os.Geteuid() == 0 {
		return nil, fmt.Errorf("data_dir %s belongs to the user with id %d, whose secrets root does not take: "+
			"run this as that user, chown -R it to root, or set another data_dir", path, uid)
	}
	name := filepath.Join(path, lockName)
	if st, err := os.Lstat(name); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a link, which is not followed: remove it", name)
	}
	lock, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|noFollow, 0o600)
	if err != nil {
		if other && errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("data_dir %s belongs to the user with id %d, and this is the one with id %d: chown -R it, or set another data_dir (%w)",
				path, uid, os.Geteuid(), durable.Bare(err))
		}
		return nil, fmt.Errorf("data_dir %s is not writable by this user: %w", path, durable.Bare(err))
	}
	if err := tryLock(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("data_dir %s is %w", path, err), lock.Close())
	}
	d := &Dir{path: path, lock: lock}
	if st, err := lock.Stat(); err == nil {
		d.last = st.ModTime()
	}
	d.Touch()
	return d, nil
}

// LastUse is when a process used the folder last before this one opened it, by the clock of then; the time of Open if
// none did.
func (d *Dir) LastUse() time.Time { return d.last }

// Touch notes that the folder is in use, for a later LastUse. Call it now and then. Unlike the rest it may be called
// from any goroutine.
func (d *Dir) Touch() {
	_ = touch(d.lock, time.Now())
}

// OtherOwner is the user that the folder belongs to, if that is not this process's.
func (d *Dir) OtherOwner() (uid int, other bool) { return otherOwner(d.path) }

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

// Path is the folder.
func (d *Dir) Path() string { return d.path }

// Closed lists the files of secrets that every user of the machine could read until now.
func (d *Dir) Closed() []string { return d.closed }

// Secret returns the secret of that name, making it on the first call: 256 bits from crypto/rand in hex, so that it can
// stand in a URL. made reports whether it is new. A file that another user has written, or could have, is refused; one
// that others could read is closed to them, see [Dir.Closed].
func (d *Dir) Secret(name string) (secret string, made bool, err error) {
	secret, st, err := read(d.path, name)
	if err == nil {
		err = d.guard(filepath.Join(d.path, name), st)
	}
	switch {
	case err == nil:
		return secret, false, nil
	case !errors.Is(err, ErrMissing):
		return "", false, err
	}
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process rather than return an error
	secret = hex.EncodeToString(raw[:])
	if err := durable.WriteFile(filepath.Join(d.path, name), []byte(secret+"\n"), 0o600); err != nil {
		return "", false, fmt.Errorf("keeping %s in data_dir %s: %w", name, d.path, durable.Bare(err))
	}
	return secret, true, nil
}

// Forget removes a secret that Secret has just made, if it turned out not to be needed.
func (d *Dir) Forget(name string) { _ = os.Remove(filepath.Join(d.path, name)) }

// guard judges whose the file of a secret is, and who else may have it.
func (d *Dir) guard(file string, st fs.FileInfo) error {
	const anew = "delete it to have a new one made"
	if uid, ok := owner(st); ok && uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to the user with id %d, and this is the one with id %d: chown it, or %s", file, uid, os.Geteuid(), anew)
	}
	others := st.Mode().Perm() & 0o006
	if others == 0 {
		return nil
	}
	if lock, err := d.lock.Stat(); err == nil && lock.Mode().Perm()&others == others && d.lock.Chmod(0o600) == nil {
		if lock, err = d.lock.Stat(); err == nil && lock.Mode().Perm()&others == others {
			return nil // a file system without modes, such as one of Windows
		}
	}
	if others&0o002 != 0 {
		return fmt.Errorf("%s can be written by every user of this machine: %s, or chmod 600 it if nobody has", file, anew)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		return fmt.Errorf("%s can be read by every user of this machine, and cannot be closed to them: %w", file, durable.Bare(err))
	}
	d.closed = append(d.closed, file)
	return nil
}

// Read returns a secret that a Dir has made, without locking. It is ErrMissing if there is none.
func Read(path, name string) (string, error) {
	secret, _, err := read(path, name)
	return secret, err
}

func read(path, name string) (string, fs.FileInfo, error) {
	file := filepath.Join(path, name)
	f, err := os.Open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, fmt.Errorf("%s is %w", file, ErrMissing)
	case errors.Is(err, fs.ErrPermission):
		return "", nil, fmt.Errorf("%s is closed to this user: run this as the user that serves, or as root (%w)", file, durable.Bare(err))
	case err != nil:
		return "", nil, fmt.Errorf("%s cannot be read: %w", file, durable.Bare(err))
	}
	defer f.Close()
	st, errStat := f.Stat()
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err := errors.Join(errStat, err); err != nil {
		return "", nil, fmt.Errorf("%s cannot be read: %w", file, durable.Bare(err))
	}
	secret := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(secret); err != nil || len(raw) != secretBytes {
		return "", nil, fmt.Errorf("%s is damaged: restore it from a backup, or delete it to have a new one made", file)
	}
	return secret, st, nil
}

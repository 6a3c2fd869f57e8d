// Package datadir owns the folder of the configuration's data_dir: it makes it, locks it for one process, and keeps the
// generated secrets in it.
package datadir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
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

const secretBytes = 32 // 256 bits

var (
	// ErrLocked says that another process holds the folder.
	ErrLocked = errors.New("in use by another crolang-aio: stop that one, or give this one another data_dir")
	// ErrMissing says that a secret has not been made yet.
	ErrMissing = errors.New("not made yet: start `crolang-aio serve` once, or set it in the configuration")
)

// Dir is a folder held by this process. It is not safe for concurrent use.
type Dir struct {
	path string
	lock *os.File
	last time.Time
}

// Open makes the folder (0700) where it is missing and locks it. The caller closes it.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir %s cannot be made: %w", path, bare(err))
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		if uid, other := otherOwner(path); other && errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("data_dir %s belongs to the user with id %d, and this is the one with id %d: chown -R it, or set another data_dir (%w)",
				path, uid, os.Geteuid(), bare(err))
		}
		return nil, fmt.Errorf("data_dir %s is not writable by this user: %w", path, bare(err))
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

// LastUse is when a process used the folder last before this one opened it, by the clock of then; Open where none did.
func (d *Dir) LastUse() time.Time { return d.last }

// Touch notes that the folder is in use, for a later LastUse. Call it now and then. Unlike the rest it may be called from
// any goroutine.
func (d *Dir) Touch() {
	now := time.Now()
	_ = os.Chtimes(d.lock.Name(), now, now)
}

// OtherOwner is the user that the folder belongs to, where that is not this process's.
func (d *Dir) OtherOwner() (uid int, other bool) { return otherOwner(d.path) }

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

// Path is the folder.
func (d *Dir) Path() string { return d.path }

// Secret returns the secret of that name, making it on the first call: 256 bits from crypto/rand in hex, so that it can
// stand in a URL. made says whether it is new.
func (d *Dir) Secret(name string) (secret string, made bool, err error) {
	secret, err = Read(d.path, name)
	if !errors.Is(err, ErrMissing) {
		return secret, false, err
	}
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process rather than return an error
	secret = hex.EncodeToString(raw[:])
	if err := durable.WriteFile(filepath.Join(d.path, name), []byte(secret+"\n"), 0o600); err != nil {
		return "", false, fmt.Errorf("keeping %s in data_dir %s: %w", name, d.path, bare(err))
	}
	return secret, true, nil
}

// Forget removes a secret that Secret has just made, if it turned out not to be needed.
func (d *Dir) Forget(name string) { _ = os.Remove(filepath.Join(d.path, name)) }

// Read returns a secret that a Dir has made, without locking. ErrMissing where there is none.
func Read(path, name string) (string, error) {
	file := filepath.Join(path, name)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is %w", file, ErrMissing)
	}
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%s is closed to this user: run this as the user that serves, or as root (%w)", file, bare(err))
	}
	if err != nil {
		return "", fmt.Errorf("%s cannot be read: %w", file, bare(err))
	}
	secret := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(secret); err != nil || len(raw) != secretBytes {
		return "", fmt.Errorf("%s is damaged: restore it from a backup, or delete it to have a new one made", file)
	}
	return secret, nil
}

// bare drops the path that an *fs.PathError repeats.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

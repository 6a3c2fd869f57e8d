//go:build unix

package datadir

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes an advisory lock that ends with the process, however it ends.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

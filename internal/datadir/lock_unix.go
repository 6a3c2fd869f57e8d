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

// otherOwner is the user that a folder belongs to, where that is not this process's.
func otherOwner(path string) (uid int, other bool) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return int(sys.Uid), ok && int(sys.Uid) != os.Geteuid()
}

//go:build unix

package datadir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const noFollow = syscall.O_NOFOLLOW

// tryLock takes an advisory lock that ends with the process, however it ends.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// touch sets the times of an open file: its name may be another one's by now.
func touch(f *os.File, now time.Time) error {
	at := syscall.NsecToTimeval(now.UnixNano())
	return syscall.Futimes(int(f.Fd()), []syscall.Timeval{at, at})
}

// otherOwner is the user that a folder belongs to, if that is not this process's.
func otherOwner(path string) (uid int, other bool) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	uid, ok := owner(st)
	return uid, ok && uid != os.Geteuid()
}

// owner is the user that a file belongs to.
func owner(st fs.FileInfo) (uid int, ok bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(sys.Uid), true
}

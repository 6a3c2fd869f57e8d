//go:build !unix

package datadir

import "os"

// tryLock takes no lock: there, a second instance is noticed by its ports alone.
func tryLock(*os.File) error { return nil }

// otherOwner knows no owners there.
func otherOwner(string) (uid int, other bool) { return 0, false }

//go:build unix

package doctor

import (
	"io/fs"
	"os"
	"syscall"
)

// foreignOwner returns the owner of a folder, and reports whether that is another user than this one. To root nobody is.
func foreignOwner(st fs.FileInfo) (uid int, foreign bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() == 0 {
		return 0, false
	}
	return int(s.Uid), int(s.Uid) != os.Geteuid()
}

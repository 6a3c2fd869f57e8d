//go:build unix

package doctor

import (
	"io/fs"
	"os"
	"syscall"
)

// foreignOwner says whose a folder is, where that is another user than this one. Root may everything.
func foreignOwner(st fs.FileInfo) (uid int, foreign bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() == 0 {
		return 0, false
	}
	return int(s.Uid), int(s.Uid) != os.Geteuid()
}

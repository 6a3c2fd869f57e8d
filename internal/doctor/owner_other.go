//go:build !unix

package doctor

import "io/fs"

func foreignOwner(fs.FileInfo) (uid int, foreign bool) { return 0, false }

//go:build !unix

package turnsrv

// openFiles is how many descriptors this process may have: handles are not limited here, so it is a usual number.
func openFiles() uint64 { return 1 << 16 }

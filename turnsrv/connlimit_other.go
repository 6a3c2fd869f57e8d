//go:build !unix

package turnsrv

// openFiles returns how many descriptors this process may have. Handles are not limited here, so it is a usual number.
func openFiles() uint64 { return 1 << 16 }

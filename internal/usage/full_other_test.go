//go:build !linux

package usage

// fullDir and fillDisk are of a test that needs Linux.
const fullDir = "USAGE_TEST_FULL_DIR"

func fillDisk(string) {}

package doctor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// diskFree is what an ordinary user may still write, in bytes.
func diskFree(path string) (free, total uint64, ok bool) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil || st.Blocks == 0 {
		return 0, 0, false
	}
	size := uint64(st.Bsize)
	return st.Bavail * size, st.Blocks * size, true
}

// ephemeralPorts are those that the kernel gives to outgoing connections.
func ephemeralPorts() (low, high int, ok bool) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, 0, false
	}
	_, err = fmt.Sscan(string(b), &low, &high)
	return low, high, err == nil
}

// reservedPorts are those that the kernel keeps out of them, for inPorts.
func reservedPorts() string {
	b, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports") // none if it cannot be read
	return string(b)
}

package doctor

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// diskFree is what an ordinary user may still write, in bytes.
func diskFree(path string) (free, total uint64, ok bool) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil || st.Blocks == 0 {
		return 0, 0, false
	}
	size := uint64(st.Bsize) //nolint:unconvert // narrower on some systems
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

// reservedPort says whether the kernel keeps a port out of those.
func reservedPort(port int) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	return err == nil && inPorts(string(b), port)
}

// inPorts reads a list such as 8080,9000-9010.
func inPorts(list string, port int) bool {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil && low <= port && port <= high {
			return true
		}
	}
	return false
}

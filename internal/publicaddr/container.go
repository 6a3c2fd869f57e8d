package publicaddr

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// dockerBridge is the network that Docker gives to containers unless it is told otherwise.
var dockerBridge = netip.MustParsePrefix("172.17.0.0/16")

// Container says in which kind of container this process runs: "Docker", "Podman", "Kubernetes" or "a container"; empty
// where there is no sign of one. addr is the address of the default route, which may be the only sign.
func Container(addr netip.Addr) string { return container("/", addr) }

func container(root string, addr netip.Addr) string {
	for _, sign := range [][2]string{{".dockerenv", "Docker"}, {"run/.containerenv", "Podman"}} {
		if _, err := os.Stat(filepath.Join(root, sign[0])); err == nil {
			return sign[1]
		}
	}
	if kind := fromGroups(filepath.Join(root, "proc/self/cgroup")); kind != "" {
		return kind
	}
	if addr.IsValid() && dockerBridge.Contains(addr) {
		return "Docker"
	}
	return ""
}

// fromGroups reads the names of the control groups, which container engines make.
func fromGroups(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		for _, group := range [][2]string{
			{"kubepods", "Kubernetes"}, {"/docker", "Docker"}, {"libpod", "Podman"}, {"/lxc", "a container"}, {"containerd", "a container"},
		} {
			if strings.Contains(lines.Text(), group[0]) {
				return group[1]
			}
		}
	}
	return ""
}

var carrier = netip.MustParsePrefix("100.64.0.0/10")

// IsPrivate reports whether nobody outside of the machine or its network reaches a: loopback, private, link-local, or of a
// provider's own NAT.
func IsPrivate(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || carrier.Contains(a)
}

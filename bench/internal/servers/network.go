package servers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Network is where servers and generator meet.
type Network struct {
	Server, Peer string       // IP addresses of the server, and of the generator with its peers
	Hosts        netip.Prefix // addresses that all lead to the generator; not valid: none
	Space        string       // network namespace of the server; empty: that of this program
	Device       string       // the server's interface there
	Threads      []int        // of the kernel, that take what arrives at Device
	Beyond       []int        // and those that take what it sends, at its other end
}

// Loopback is the network of 127.0.0.1.
var Loopback = Network{Server: "127.0.0.1", Peer: "127.0.0.1"}

// The two ends of the interface have Addresses that RFC 2544 keeps for benchmarks.
const (
	ethernetServer = "198.18.0.2"
	ethernetPeer   = "198.18.0.1"
	ethernetHosts  = "198.19.0.0/16"
)

// Ethernet makes a network namespace for the servers and a pair of virtual Ethernet interfaces that leads to it. It needs
// root, ip and ethtool. The caller calls remove, which takes all of it away.
//
// Each end takes what arrives in a kernel thread and puts datagrams of one flow together (GRO): a network card's
// interrupts do so too, whereas loopback hands every datagram over alone, on the sender's account.
func Ethernet(ctx context.Context) (n Network, remove func() error, err error) {
	if os.Geteuid() != 0 {
		return n, nil, errors.New("a network of its own needs root")
	}
	for _, tool := range []string{"ip", "ethtool"} {
		if _, err := exec.LookPath(tool); err != nil {
			return n, nil, fmt.Errorf("%s is missing (Debian: apt install iproute2 ethtool): %w", tool, err)
		}
	}
	id := fmt.Sprintf("bench%d", os.Getpid())
	here, there := id+"a", id+"b"
	n = Network{Server: ethernetServer, Peer: ethernetPeer, Hosts: netip.MustParsePrefix(ethernetHosts), Space: id, Device: there}
	remove = func() error { return tool(context.WithoutCancel(ctx), "ip", "netns", "delete", id) } // the interfaces go with it
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
			remove = nil
		}
	}()
	if err = tool(ctx, "ip", "netns", "add", id); err != nil {
		return n, remove, err
	}
	gro := "gro on rx-udp-gro-forwarding on" // without the second, the two ends skip their receive queues
	for _, line := range []string{
		"ip link add " + here + " type veth peer name " + there + " netns " + id,
		"ip address add " + ethernetPeer + "/30 dev " + here,
		"ip -n " + id + " address add " + ethernetServer + "/30 dev " + there,
		"ethtool -K " + here + " " + gro,
		"ip netns exec " + id + " ethtool -K " + there + " " + gro,
		"ip link set " + here + " up",
		"ip -n " + id + " link set lo up",
		"ip -n " + id + " link set " + there + " up",
		"ip route append local " + ethernetHosts + " dev " + here,
		"ip -n " + id + " route add " + ethernetHosts + " via " + ethernetPeer,
	} {
		words := strings.Fields(line)
		if err = tool(ctx, words[0], words[1:]...); err != nil {
			return n, remove, err
		}
	}
	if err = os.WriteFile("/sys/class/net/"+here+"/threaded", []byte("1"), 0); err != nil {
		return n, remove, fmt.Errorf("receiving in a thread (Linux 5.12): %w", err)
	}
	if err = tool(ctx, "ip", "netns", "exec", id, "sh", "-c", "echo 1 > /sys/class/net/"+there+"/threaded"); err == nil {
		n.Threads, err = threads("napi/" + there + "-")
	}
	if err == nil {
		n.Beyond, err = threads("napi/" + here + "-")
	}
	return n, remove, err
}

// threads are the kernel's threads whose name begins so.
func threads(prefix string) (all []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name, err := os.ReadFile(f)
		if err != nil || !strings.HasPrefix(string(name), prefix) {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			return nil, err
		}
		all = append(all, pid)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no thread of the kernel is called %s…", prefix)
	}
	return all, nil
}

// tool runs a command that says nothing unless it fails.
func tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // words of this program's own
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// move has a command that is not running yet run where the network's server is. ip becomes the command, so that the
// process stays the one that was started.
func (n Network) move(cmd *exec.Cmd) error {
	if n.Space == "" {
		return nil
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		return err
	}
	cmd.Args = append([]string{"ip", "netns", "exec", n.Space, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = ip
	return nil
}

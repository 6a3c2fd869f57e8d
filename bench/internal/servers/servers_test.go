package servers

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"testing"
)

func TestTailKeepsTheEnd(t *testing.T) {
	var l Tail
	_, _ = l.Write(bytes.Repeat([]byte("x"), 2*outputKept))
	_, _ = l.Write([]byte(" the end\n"))
	if s := l.String(); len(s) > outputKept || !strings.HasSuffix(s, "x the end") {
		t.Errorf("%d bytes", len(s))
	}
}

func TestChooseFindsDistinctPorts(t *testing.T) {
	a, err := Choose(Loopback, "s")
	if err != nil {
		t.Fatal(err)
	}
	ports := map[int]bool{a.Plain: true, a.TLS: true, a.Hooks: true, a.Admin: true}
	if len(ports) != 4 || a.Of("udp") != Loopback.At(a.Plain) || a.Of("tls") != Loopback.At(a.TLS) {
		t.Errorf("%+v", a)
	}
}

// What runs in the network has its address; afterwards nothing of it is left.
func TestEthernet(t *testing.T) {
	n, remove, err := Ethernet(t.Context())
	if err != nil {
		t.Skip(err)
	}
	if len(n.Threads) == 0 || len(n.Beyond) == 0 || n.Threads[0] == n.Beyond[0] {
		t.Errorf("threads %v receive at the server's interface, and %v at its other end", n.Threads, n.Beyond)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "-brief", "address")
	if err := n.move(cmd); err != nil {
		t.Error(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), n.Server+"/30") || strings.Contains(string(out), n.Peer) {
		t.Errorf("%s, %v", out, err)
	}
	if c, err := net.ListenPacket("udp4", n.Peer+":0"); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "list").Output(); err != nil || strings.Contains(string(out), n.Space) {
		t.Errorf("left: %s, %v", out, err)
	}
}

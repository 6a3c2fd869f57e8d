package publicaddr

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// stunServer answers Binding requests with what reply makes of them; nothing where that is nil.
func stunServer(t *testing.T, reply func(request []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if b := reply(buf[:n]); b != nil {
				_, _ = conn.WriteToUDP(b, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return "stun:" + conn.LocalAddr().String()
}

func sees(addr string) func([]byte) []byte {
	return func(request []byte) []byte {
		return stunmsg.Begin(nil, stunmsg.BindingRequest.Success(), request[8:20]).
			XORAddr(stunmsg.AttrXORMappedAddress, netip.AddrPortFrom(netip.MustParseAddr(addr), 4711)).Bytes()
	}
}

func TestAskTakesTheMajority(t *testing.T) {
	asked := 0
	servers := []string{
		stunServer(t, sees("192.0.2.1")),
		stunServer(t, sees("192.0.2.2")),
		stunServer(t, func(request []byte) []byte { // the first question is lost, and what comes is a forger's
			if asked++; asked == 1 {
				return sees("192.0.2.66")(make([]byte, 20))
			}
			return sees("192.0.2.2")(request)
		}),
	}
	answers := Ask(t.Context(), servers)
	for i, want := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.2"} {
		if a := answers[i]; a.Err != nil || a.Addr.String() != want || a.Server != servers[i] {
			t.Errorf("%+v, want %s", a, want)
		}
	}
	if got, ok := Majority(answers); !ok || got.String() != "192.0.2.2" {
		t.Errorf("majority %v", got)
	}
	if got, ok := Majority(answers[:2]); !ok || got.String() != "192.0.2.1" {
		t.Errorf("of equals %v", got)
	}
}

func TestAskDoesNotWaitForTheSilent(t *testing.T) {
	servers := []string{
		stunServer(t, func([]byte) []byte { return nil }),
		stunServer(t, sees("0.0.0.0")),
		"stun:no-such-host.invalid",
		stunServer(t, sees("192.0.2.1")),
	}
	begun := time.Now()
	answers := Ask(t.Context(), servers)
	if took := time.Since(begun); took > askTimeout+2*time.Second {
		t.Errorf("took %v", took)
	}
	for _, a := range answers[:3] {
		if a.Err == nil {
			t.Errorf("%+v", a)
		}
	}
	if got, ok := Majority(answers); !ok || got.String() != "192.0.2.1" {
		t.Errorf("%v of %+v", got, answers)
	}
	if _, ok := Majority(answers[:3]); ok {
		t.Error("silence is an answer")
	}
}

func TestContainer(t *testing.T) {
	home := netip.MustParseAddr("192.168.1.5")
	for name, c := range map[string]struct {
		file, text string
		addr       netip.Addr
		want       string
	}{
		"nothing":         {"etc/hostname", "x", home, ""},
		"docker":          {".dockerenv", "", home, "Docker"},
		"podman":          {"run/.containerenv", "", home, "Podman"},
		"cgroup v1":       {"proc/self/cgroup", "12:pids:/docker/0123\n", home, "Docker"},
		"pod":             {"proc/self/cgroup", "1:name=systemd:/kubepods/besteffort/pod1/docker/1\n", home, "Kubernetes"},
		"no container":    {"proc/self/cgroup", "0::/user.slice/user-1000.slice\n", home, ""},
		"bridge":          {"etc/hostname", "x", netip.MustParseAddr("172.17.0.2"), "Docker"},
		"another private": {"etc/hostname", "x", netip.MustParseAddr("172.20.0.2"), ""},
	} {
		root := t.TempDir()
		file := filepath.Join(root, c.file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := container(root, c.addr); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What no client could reach is no answer, whatever the server says.
func TestPlausible(t *testing.T) {
	far, near := netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("127.0.0.1:3478")
	for addr, want := range map[string]bool{
		"198.51.100.1": true, "10.9.9.9": true, "223.255.255.255": true,
		"127.0.0.1": false, "169.254.169.254": false, "0.0.0.0": false, "0.0.0.1": false,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
	} {
		if got := plausible(netip.MustParseAddr(addr), far); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if !plausible(netip.MustParseAddr("127.0.0.1"), near) {
		t.Error("a server on loopback sees loopback")
	}
	answer := Ask(t.Context(), []string{stunServer(t, sees("169.254.169.254"))})[0]
	if answer.Err == nil {
		t.Errorf("believed %s", answer.Addr)
	}
}

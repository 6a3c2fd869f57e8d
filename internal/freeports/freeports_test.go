package freeports

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Ports are of this process' block, each another, and what somebody has is passed over.
func TestNext(t *testing.T) {
	seen := map[int]bool{}
	next := func() int {
		t.Helper()
		port, err := Next()
		if err != nil {
			t.Fatal(err)
		}
		first := guard.Addr().(*net.TCPAddr).Port
		if port <= first || port >= first+size || first < lowest || first+size > lowest+blocks*size || seen[port] {
			t.Fatalf("port %d, of those from %s", port, guard.Addr())
		}
		seen[port] = true
		return port
	}
	port := next()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port+2))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if got := next(); got != port+3 {
		t.Errorf("after %d came %d", port, got)
	}
	// They begin again when all have been given.
	for range size - 5 {
		if got, err := Next(); err != nil || got == port+1 || got == port+2 {
			t.Fatalf("%d, %v", got, err)
		}
	}
	if got, err := Next(); err != nil || got != port+3 && got != port {
		t.Errorf("%d, %v", got, err)
	}
}

// Two processes have two blocks.
func TestProcesses(t *testing.T) {
	port, err := Next()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PRINT_A_PORT") != "" {
		fmt.Println("port", port)
		return
	}
	block := func(port int) int { return (port - lowest) / size }
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcesses$")
		cmd.Env = append(os.Environ(), "PRINT_A_PORT=1")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var other int
		if _, err := fmt.Sscanf(string(out[strings.Index(string(out), "port "):]), "port %d", &other); err != nil || block(other) == block(port) {
			t.Fatalf("here %d, there %s: %v", port, out, err)
		}
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// The program runs until it is killed, so the tests run it as one.
func TestMain(m *testing.M) {
	if args := os.Getenv("FLOOR_TEST_ARGS"); args != "" {
		os.Args = append(os.Args[:1], strings.Fields(args)...)
		main()
	}
	os.Exit(m.Run())
}

func program(ctx context.Context, args string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "FLOOR_TEST_ARGS="+args)
	return cmd
}

func TestRelays(t *testing.T) {
	for _, threads := range []int{1, 2} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		port, err := freeports.Next()
		if err != nil {
			t.Fatal(err)
		}
		cmd := program(ctx, fmt.Sprintf("-port %d -threads %d", port, threads))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, port)
		for _, direction := range []string{load.Up, load.Down, load.Echo} {
			r, err := load.Run(ctx, load.Config{
				Server: fmt.Sprintf("127.0.0.1:%d", port), Secret: "any", Transport: "udp", Direction: direction,
				Clients: 3, Size: 100, Rate: 1000, Duration: 500 * time.Millisecond, Warmup: 50 * time.Millisecond,
			})
			if err != nil || r.Delivered == 0 {
				t.Errorf("%d threads, %s: %+v, %v", threads, direction, r, err)
			}
		}
		cancel()
		_ = cmd.Wait() // killed
	}
}

// await sends Binding requests until one is answered.
func await(ctx context.Context, t *testing.T, port int) {
	t.Helper()
	c, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, "floor's test"...)
	var b [100]byte
	for ctx.Err() == nil {
		_, _ = c.Write(request)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := c.Read(b[:]); err == nil && n > 20 && b[0] == 1 {
			return
		}
	}
	t.Fatal("no answer")
}

func TestWrongUse(t *testing.T) {
	for _, args := range []string{"-threads 1", "-port 70000", "-port 1 -threads 0", "-port 1 more"} {
		out, err := program(t.Context(), args).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "floor: give -port 1 to 65535 and -threads 1 to 256") {
			t.Errorf("%s: %v, %s", args, err, out)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, test := range []struct {
		args string
		env  func(string) string
		code int
		want string
	}{
		{"-help", env(), 0, "Load only servers that are yours"},
		{"", env(), 2, "no credential: give -secret-file"},
		{"-what", env(), 2, "turnload -help lists the flags"},
		{"10", env(), 2, `unexpected argument "10"`},
		{"-username me", env(), 2, "set TURNLOAD_PASSWORD"},
		{"-username me -secret-file f", env(), 2, "give one"},
		{"-secret-file " + empty, env(), 2, "no secret in " + empty},
		{"-secret-file " + dir + "/none", env(), 2, "reading the secret"},
		{"-clients 0 -size 1", env("TURNLOAD_SECRET", "s"), 2, "turnload: impossible load: size 1"},
		{"-server 127.0.0.1:1 -transport tcp", env("TURNLOAD_SECRET", "hidden"), 1, "127.0.0.1:1 over tcp"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(test.args), test.env, &stdout, &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.want) || stdout.Len() > 0 {
			t.Errorf("%q: %d, %q, %q", test.args, code, &stdout, &stderr)
		}
		if strings.Contains(stderr.String(), "hidden") {
			t.Errorf("%q: the secret is in %q", test.args, &stderr)
		}
	}
}

func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	if c, _, err := parse([]string{"-secret-file", file}, none, os.Stderr); err != nil || c.Secret != "from the file" {
		t.Errorf("%q, %v", c.Secret, err)
	}
	password := func(string) string { return "p" }
	if c, _, err := parse([]string{"-username", "u"}, password, os.Stderr); err != nil || c.Secret != "" || c.Password != "p" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestTable(t *testing.T) {
	r := &load.Result{
		Transport: "udp", Direction: load.Echo, Clients: 50, Size: 160, Rate: 10000,
		Setup:   load.SetupResult{Seconds: 0.5, PerSecond: 100, Took: &load.Latency{P50: 900, P90: 1500, P99: 612000, Max: 2.5e6}, CPU: 170, Memory: 10.66},
		Seconds: 5, SentPPS: 9000, DeliveredPPS: 8999.6, Delivered: 44998, Mbit: 11.52, Loss: 0.0001, SendErrors: 3,
		Latency: &load.Latency{P50: 80, P90: 120, P99: 400, Max: 999}, Jitter: 12, OwnCPU: 0.4, Behind: true,
		Process: &load.Process{PID: 1, Cores: 0.05, CPU: 2.5, RSS: 20.1},
	}
	want := `set-up        50 allocations over udp in 0.50 s, 100/s
  one took    p50 900 µs, p90 1.50 ms, p99 612.0 ms, at most 2.50 s
  server      170 µs of CPU and 10.7 kB per allocation
traffic       echo, 160 bytes, 10 000/s asked for, for 5.0 s
  sent        9 000/s
  delivered   9 000/s, 11.5 Mbit/s
  lost        0.010 %
  reordered   0
  round trip  p50 80 µs, p90 120 µs, p99 400 µs, at most 999 µs
  jitter      12 µs
  server      0.05 cores, 2.50 µs of CPU per datagram, 20.1 MB resident
  generator   0.40 cores
note: the generator could not keep the rate: the figures are those of what was sent
note: some requests had to be sent again: a server that limits unauthenticated requests per address drops them (crolang-aio: turn.limits.unauthenticated_per_second), and so does a full socket
note: sending failed 3 times
`
	if got := table(r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r = &load.Result{Transport: "tcp", Direction: load.Setup, Clients: 1, Setup: load.SetupResult{Seconds: 1, PerSecond: 1}}
	want = "set-up      1 allocations over tcp in 1.00 s, 1/s\n  one took  -\n"
	if got := table(r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

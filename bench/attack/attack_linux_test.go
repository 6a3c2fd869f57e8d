package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
)

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"":              "",
		"-seconds 30":   "",
		"-seconds 1":    "-seconds 1: 6 to 300",
		"-only x extra": `unexpected argument "extra"`,
		"-nonsense":     "flag provided but not defined: -nonsense",
	} {
		o, err := parse(strings.Fields(args), io.Discard)
		switch {
		case err != nil && err.Error() != want || err == nil && want != "":
			t.Errorf("%q: %v, want %q", args, err, want)
		case err == nil && o.length < shortest:
			t.Errorf("%q: %+v", args, o)
		}
	}
	if _, err := parse([]string{"-help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	err := table(&b, []row{{
		scenario: "crowd", server: "ours", unit: "connections/s", rate: 19999.6, came: 100, got: 97, times: durations{time.Second, 200 * time.Millisecond},
		bindings: durations{123456}, lost: 2, cores: 0.456, grown: 5 << 20,
	}})
	want := "crowd ours 20000 connections/s 97 of 100 1s 1s 1s 120µs 120µs 2 0.46 +5 MB"
	_, got, _ := strings.Cut(b.String(), "\n")
	if got = strings.Join(strings.Fields(got), " "); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got := durations(nil).quantile(0.5); got != "-" {
		t.Errorf("got %q", got)
	}
}

// sources has a worker attack, and waits until attacks from several addresses have come.
func sources(t *testing.T, w worker, next func() (net.Addr, error)) {
	t.Helper()
	in, tell := io.Pipe()
	done := make(chan error, 1)
	var out bytes.Buffer
	go func() { done <- work(t.Context(), in, &out) }()
	if err := json.NewEncoder(tell).Encode(w); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for len(seen) < 20 {
		a, err := next()
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(a.String())
		seen[host] = true
	}
	_ = tell.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := strings.TrimSpace(out.String()); s == "" || s == "0" {
		t.Errorf("it says %q", s)
	}
}

func TestCrowdWorker(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sources(t, worker{Kind: "crowd", To: l.Addr().String(), Rate: 500, Sources: 64, Says: "binding"}, func() (net.Addr, error) {
		c, err := l.Accept()
		if err != nil {
			return nil, err
		}
		defer c.Close()
		b := make([]byte, len(bindingRequest))
		if _, err := io.ReadFull(c, b); err == nil && !bytes.Equal(b, bindingRequest) {
			t.Errorf("got %x", b)
		}
		return c.RemoteAddr(), nil
	})
}

func TestHellosWorker(t *testing.T) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sources(t, worker{Kind: "hellos", To: c.LocalAddr().String(), Rate: 2000}, func() (net.Addr, error) {
		b := make([]byte, 2048)
		n, from, err := c.ReadFrom(b)
		if err == nil && (n < randomAt+32 || b[0] != 22 || b[13] != 1) {
			t.Errorf("no ClientHello: %x", b[:n])
		}
		return from, err
	})
}

// TestMisuseWorker has it take a real server's allocations.
func TestMisuseWorker(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	us, err := servers.Build(ctx, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := servers.Start(ctx, us, servers.Loopback, dir, strings.Repeat("0123456789abcdef", 4))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	in, tell := io.Pipe()
	done := make(chan error, 1)
	var out bytes.Buffer
	go func() { done <- work(ctx, in, &out) }()
	if err := json.NewEncoder(tell).Encode(worker{Kind: "misuse", To: s.At(s.TLS), Rate: 1000, Secret: s.Secret}); err != nil {
		t.Fatal(err)
	}
	e, err := newEcho(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if came, times := e.run(ctx, time.Second); came == 0 || len(times) == 0 {
		t.Errorf("%d of %d datagrams came back", len(times), came)
	}
	_ = tell.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(out.String())); err != nil || n < 500 {
		t.Errorf("it says %q", &out)
	}
}

func TestUnknownAttack(t *testing.T) {
	for _, told := range []string{`{"Kind":"x","To":"127.0.0.1:1"}`, `{"Kind":"crowd","To":"127.0.0.1:1","Says":"x"}`, `{}`, ``} {
		if err := work(t.Context(), strings.NewReader(told), io.Discard); err == nil {
			t.Errorf("%s: no error", told)
		}
	}
	if b, err := streamHello(); err != nil || len(b) < 100 || b[0] != 22 {
		t.Errorf("got %x, %v", b, err)
	}
}

package e2e

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// The client of the Rust crate turn-client-proto has a stack of its own for RFC 8489: with turn.sha256 it is served with
// USERHASH and a key of SHA-256, or of MD5 if it knows no other, and without it as a client of RFC 5389. A name that this
// process has not issued it sends as a hash first, and then as it is.
func TestTurnClientProto(t *testing.T) {
	const client = "rust/target/debug/turn-client-proto-peer"
	if _, err := os.Stat(client); err != nil {
		t.Skip("turn-client-proto's client is not built: `make test` does that, where there is Rust 1.80 or later")
	}
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = echo.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(buf[:n], from)
		}
	}()
	const secret = "[credentials]\nsecret = \"one secret for both of the processes\"\n[log]"
	off := serve(t, "allow = []", `allow = ["127.0.0.1"]`, "[log]", secret)
	on := serve(t, "allow = []", `allow = ["127.0.0.1"]`, "[log]", secret, "[turn]", "[turn]\nsha256 = true")
	for _, c := range []struct {
		name, hash     string
		server, issuer *server
		refused        uint64
	}{
		{"off", "sha1", off, off, 0}, {"on, SHA-256", "sha256", on, on, 0}, {"on, MD5 alone", "sha1", on, on, 0},
		{"on, issued elsewhere", "sha256", on, off, 1},
	} {
		for _, transport := range []string{"udp", "tcp"} {
			t.Run(c.name+" over "+transport, func(t *testing.T) {
				before := refusals(t, c.server)
				user, pass := c.issuer.credentials(t, "proto "+c.name)
				out, err := run(t, client, transport, c.server.turn, echo.LocalAddr().String(), user, pass, c.hash, "200")
				out = strings.ReplaceAll(out, pass, "…")
				if err != nil || !strings.HasSuffix(strings.TrimSpace(out), "200") {
					t.Fatalf("%v\n%s\n%s", err, tail(out), tail(c.server.logs()))
				}
				if n := refusals(t, c.server) - before; n != c.refused {
					t.Errorf("%d requests were refused with wrong_credential, want %d", n, c.refused)
				}
			})
		}
	}
	toldOfICMP(t, client)
	tried(t, "turn-client-proto (Rust)", "0.7.3", "a channel to an echo over UDP and TCP, with SHA-256 and USERHASH (`turn.sha256`) and without: 200 messages of 1000 bytes there and back; "+
		"it reads what ICMP says (`turn.icmp`)")
}

// toldOfICMP has the client send where nobody listens: it says what it is told, and ends.
func toldOfICMP(t *testing.T, client string) {
	if runtime.GOOS != "linux" {
		return
	}
	gone := must(freeports.Addr())(t)
	s := serve(t, "allow = []", `allow = ["127.0.0.1"]`, "[turn]", "[turn]\nicmp = true")
	for _, transport := range []string{"udp", "tcp"} {
		t.Run("ICMP over "+transport, func(t *testing.T) {
			user, pass := s.credentials(t, "proto ICMP")
			out, err := run(t, client, transport, s.turn, gone, user, pass, "sha1", "200")
			told := fmt.Sprintf("peer: %s, icmp_type: 3, icmp_code: 3, icmp_data: 0 }", gone)
			if err == nil || !strings.Contains(out, "PeerIcmp {") || !strings.Contains(out, told) {
				t.Errorf("%v\n%s\n%s", err, tail(strings.ReplaceAll(out, pass, "…")), tail(s.logs()))
			}
		})
	}
}

// refusals counts those with wrong_credential.
func refusals(t *testing.T, s *server) (n uint64) {
	t.Helper()
	_, text := s.ask(t, "GET", "/metrics", "")
	for line := range strings.Lines(text) {
		if strings.Contains(line, `cause="wrong_credential"`) {
			_, value, _ := strings.Cut(line, "} ")
			if _, err := fmt.Sscan(value, &n); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

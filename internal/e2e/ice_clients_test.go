package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// trusted writes the self-signed certificate of the running program to a file of its own.
func (s *server) trusted(t *testing.T) string {
	t.Helper()
	pair, err := os.ReadFile(filepath.Join(s.dir, "data", "self-signed.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(pair); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			name := filepath.Join(t.TempDir(), "trusted.pem")
			if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
			return name
		}
	}
	t.Fatal("no certificate in self-signed.pem")
	return ""
}

// relaying are the transports of the live allocations of two Nodes that have relayed this much each.
func (s *server) relaying(t *testing.T, nodes []string, bytes uint64) []string {
	t.Helper()
	var transports []string
	for _, node := range nodes {
		_, text := s.ask(t, "GET", "/api/allocations?q="+node, "")
		var list adminapi.AllocationList
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		for _, a := range list.Allocations {
			if a.Node == node && a.BytesIn >= bytes && a.BytesOut >= bytes {
				transports = append(transports, a.Transport)
			}
		}
	}
	return transports
}

// Clients with ICE stacks of their own connect relay to relay over every transport, with credentials from the webhook, and
// get back what they sent. Over TLS they verify the self-signed certificate, which they were given to trust.
func TestICEClients(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's packages
	debian := func(module string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			err := exec.Command(python, "-c", "import "+module).Run()
			peer(t, "python3-"+module, err == nil)
			return []string{python, "python/relay.py", module}
		}
	}
	s := serve(t)
	for _, client := range []struct {
		name    string
		command func(*testing.T) []string
	}{
		{"aioice", debian("aioice")},
		{"aiortc", debian("aiortc")},
		{"werift", func(t *testing.T) []string { return []string{npm(t, "werift"), "werift/relay.js"} }},
	} {
		t.Run(client.name, func(t *testing.T) {
			command, version := client.command(t), ""
			for _, over := range []struct{ transport, url string }{
				{"udp", "turn:" + s.turn + "?transport=udp"},
				{"tcp", "turn:" + s.turn + "?transport=tcp"},
				{"tls", "turns:" + s.tls + "?transport=tcp"},
			} {
				t.Run(over.transport, func(t *testing.T) {
					version = relayToRelay(t, s, command, client.name, over.transport, over.url)
				})
			}
			tried(t, client.name, version, "relay to relay over UDP, TCP and TLS (self-signed, trusted): 200 messages of 1000 bytes there and back")
		})
	}
}

func relayToRelay(t *testing.T, s *server, command []string, client, transport, url string) (version string) {
	t.Helper()
	const count, size = 200, 1000
	nodes := []string{"a-" + client + "-" + transport, "b-" + client + "-" + transport}
	var users [][2]string
	for _, node := range nodes {
		name, password := s.credentials(t, node)
		users = append(users, [2]string{name, password})
	}
	arguments, err := json.Marshal(map[string]any{"url": url, "count": count, "size": size, "users": users})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], append(command[1:], string(arguments))...)
	trusted := s.trusted(t)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+trusted, "NODE_EXTRA_CA_CERTS="+trusted)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(90*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var said struct {
		OK             bool
		Version, Error string
		Ms             int
	}
	failed := json.NewDecoder(out).Decode(&said)
	transports := s.relaying(t, nodes, count*size) // while it lives
	in.Close()
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil || failed != nil || !said.OK {
		t.Fatalf("%v, %v, %s\n%s\n%s", err, failed, said.Error, tail(stderr.String()), tail(s.logs()))
	}
	if strings.Join(transports, " ") != transport+" "+transport {
		t.Errorf("relays of that much over %q, want two over %s", transports, transport)
	}
	t.Logf("%s %s over %s: %d messages of %d bytes there and back, %d ms in all", client, said.Version, transport, count, size, said.Ms)
	return said.Version
}

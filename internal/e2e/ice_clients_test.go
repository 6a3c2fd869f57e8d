package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

var minutes = flag.Int("minutes", 0, "have the clients of TestICEClients talk for this long, at five messages a second")

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

// serveBoth starts a server that listens in both families, at the same ports, and relays in both; six and tlsSix are its IPv6
// addresses.
func serveBoth(t *testing.T, edits ...string) (s *server, six, tlsSix string) {
	t.Helper()
	ofIPv6 := func(address string) string { return strings.Replace(address, "127.0.0.1", "[::1]", 1) }
	s = serveWith(t, func(s *server) {
		conf, err := os.ReadFile(s.config)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{s.turn, s.tls} {
			conf = bytes.Replace(conf, fmt.Appendf(nil, "[%q]", address), fmt.Appendf(nil, "[%q, %q]", address, ofIPv6(address)), 1)
		}
		if err := os.WriteFile(s.config, conf, 0o600); err != nil {
			t.Fatal(err)
		}
	}, append([]string{`ipv6 = "off"`, `ipv6 = "::1"`}, edits...)...)
	return s, ofIPv6(s.turn), ofIPv6(s.tls)
}

func family(ip netip.Addr) string {
	if ip.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// relaying are the ways of the live allocations of Nodes that have relayed this much each: it awaits that many of them for a
// while, since the server counts what it has sent.
func (s *server) relaying(t *testing.T, nodes []string, bytes uint64, many int) (ways []way) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ways = nil
		for _, node := range nodes {
			_, text := s.ask(t, "GET", "/api/allocations?q="+url.QueryEscape(node), "")
			var list adminapi.AllocationList
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				t.Fatal(err)
			}
			for _, a := range list.Allocations {
				if a.Node == node && a.BytesIn >= bytes && a.BytesOut >= bytes {
					ways = append(ways, way{a.Transport, family(a.Client.Addr()), family(a.Relayed.Addr())})
				}
			}
		}
		if len(ways) >= many || time.Now().After(end) {
			return ways
		}
	}
}

// talk is what a client is told to do. Every is in milliseconds, 0 for as fast as it goes.
type talk struct {
	URL    string       `json:"url"`
	Count  int          `json:"count"`
	Size   int          `json:"size"`
	Every  int          `json:"every"`
	Family string       `json:"family,omitempty"` // of the relayed address, of clients that can choose
	Relays string       `json:"relays,omitempty"` // tcp: of RFC 6062
	Users  [2][2]string `json:"users"`
}

// iceClient is a program that connects two peers relay to relay, and says so in a line of JSON.
type iceClient struct {
	name    string
	ways    []way
	command func(*testing.T) []string
	tell    func(talk) []string // nil: as JSON
	count   int                 // of messages; 0: 200
	size    int                 // of each in bytes; 0: 1000
	rate    int                 // in a second, of a client that has a rate of its own
	what    string              // they are; empty: datagrams
}

// over are the ways by these transports in both families, to relayed addresses of IPv4.
func over(transports ...string) (ways []way) {
	for _, transport := range transports {
		ways = append(ways, way{transport, "IPv4", "IPv4"}, way{transport, "IPv6", "IPv4"})
	}
	return ways
}

// debian is a script in Debian's Python, with Debian's packages.
func debian(module string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		err := exec.Command("/usr/bin/python3", "-c", "import "+module).Run()
		peer(t, "python3-"+module, err == nil)
		return []string{"/usr/bin/python3", "python/relay.py", module}
	}
}

// pypi is a script with the packages of python/requirements.txt.
func pypi(module string, command ...string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		const python = "python/.venv/bin/python"
		err := exec.Command(python, "-c", "import "+module).Run()
		peer(t, "PyPI's "+module+" in internal/e2e/python/.venv", err == nil)
		return append([]string{python}, command...)
	}
}

func node(folder string) func(*testing.T) []string {
	return func(t *testing.T) []string { return []string{npm(t, folder), folder + "/relay.js"} }
}

// libnice compiles a program for Debian's libnice.
func libnice(t *testing.T) []string {
	version := says("pkg-config", "--modversion", "nice")
	peer(t, "libnice-dev", version != "?")
	made := filepath.Join(t.TempDir(), "relay")
	flags := strings.Fields(says("pkg-config", "--cflags", "--libs", "nice"))
	out, err := run(t, program(t, "gcc"), append([]string{"-Wall", "-Wextra", "-Werror", "-O1", "-o", made, `-DVERSION="` + version + `"`, "libnice/relay.c"}, flags...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return []string{made}
}

func tellLibnice(s talk) []string {
	address, transport, _ := strings.Cut(strings.TrimPrefix(s.URL, "turn:"), "?transport=")
	host, port, _ := net.SplitHostPort(address)
	return []string{host, port, transport, fmt.Sprint(s.Count), fmt.Sprint(s.Size), fmt.Sprint(s.Every),
		s.Users[0][0], s.Users[0][1], s.Users[1][0], s.Users[1][1]}
}

// pion5 builds the program of pion/turn v5, which is a module of its own.
func pion5(t *testing.T) []string {
	at := says("go", "list", "-C", "pion5", "-m", "-f", "{{.Dir}}", "github.com/pion/turn/v5") // empty or an error where it is not downloaded
	peer(t, "the module github.com/pion/turn/v5", strings.HasPrefix(at, "/"))
	made := filepath.Join(t.TempDir(), "pion5")
	if out, err := run(t, "go", "build", "-C", "pion5", "-o", made, "."); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return []string{made}
}

var iceClients = []iceClient{
	{name: "aioice, Debian's", ways: over("udp", "tcp", "tls"), command: debian("aioice")},
	{name: "aioice, PyPI's", ways: over("udp", "tcp", "tls"), command: pypi("aioice", "python/relay.py", "aioice")},
	{name: "aiortc", ways: four("udp", "tcp", "tls"), command: debian("aiortc"), what: "messages on a data channel"},
	{name: "libdatachannel, node-datachannel's", ways: over("udp"), command: node("libdatachannel"), what: "messages on a data channel"},
	{name: "libnice", ways: over("udp", "tcp"), command: libnice, tell: tellLibnice},
	{name: "pion/turn v5", ways: append(over("udp", "tcp", "tls", "dtls"), sixes("udp", "tcp", "tls", "dtls")...), command: pion5},
	{name: "PJNATH, in a call of PJSIP", ways: four("udp", "tcp", "tls"),
		command: pypi("pjsua2", "python/pjsip.py"), count: 100, size: 172, rate: 50, what: "RTP packets"},
	{name: "werift", ways: over("udp", "tcp", "tls"), command: node("werift"), what: "messages on a data channel"},
}

// four are ways by IPv4 alone: aiortc takes no IPv6 address in a URL, and that PJSIP is built without IPv6.
func four(transports ...string) []way {
	return slices.DeleteFunc(over(transports...), func(w way) bool { return w.path != "IPv4" })
}

// sixes are ways that end in a relayed address of IPv6.
func sixes(transports ...string) []way {
	ways := over(transports...)
	for i := range ways {
		ways[i].relayed = "IPv6"
	}
	return ways
}

// Clients with ICE stacks of their own, and pion's, connect relay to relay over every transport that they have and in every
// family, with credentials from the webhook, and get back what they sent. Over TLS they verify the self-signed certificate,
// which they were given to trust, but for PJNATH, which by default verifies none.
func TestICEClients(t *testing.T) {
	s, six, tlsSix := serveBoth(t)
	trusted := s.trusted(t)
	addresses := map[bool]map[string]string{false: {"IPv4": s.turn, "IPv6": six}, true: {"IPv4": s.tls, "IPv6": tlsSix}}
	for _, client := range iceClients {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			client.count, client.size = cmp.Or(client.count, 200), cmp.Or(client.size, 1000)
			command, version := client.command(t), ""
			for _, w := range client.ways {
				t.Run(w.String(), func(t *testing.T) {
					if *minutes > 0 {
						t.Parallel()
					}
					over, encrypted := map[string]string{"udp": "udp", "tcp": "tcp", "tls": "tcp", "dtls": "udp"}[w.transport], strings.HasSuffix(w.transport, "tls")
					told := talk{URL: "turn:" + addresses[encrypted][w.path] + "?transport=" + over, Count: client.count, Size: client.size}
					if w.relayed == "IPv6" {
						told.Family = w.relayed
					}
					if encrypted {
						told.URL = "turns" + strings.TrimPrefix(told.URL, "turn")
					}
					version = client.relay(t, s, command, trusted, w, told)
				})
			}
			t.Cleanup(func() { // after the parallel ones
				tried(t, client.name, version, fmt.Sprintf("relay to relay: %d %s of %d bytes there and back", client.count, cmp.Or(client.what, "datagrams"), client.size))
			})
		})
	}
}

// One client of pion connects to the TCP relay of another by its own (RFC 6062). Over TLS pion has none.
func TestTCPRelaysOfPion(t *testing.T) {
	s, six, _ := serveBoth(t, "[turn]\n", "[turn]\ntcp_relays = true\n")
	client := iceClient{name: "pion/turn v5, TCP relays"}
	command, trusted, version := pion5(t), s.trusted(t), ""
	for _, w := range append(over("tcp"), sixes("tcp")...) {
		t.Run(w.String(), func(t *testing.T) {
			at := map[string]string{"IPv4": s.turn, "IPv6": six}[w.path]
			told := talk{URL: "turn:" + at + "?transport=tcp", Family: w.relayed, Relays: "tcp", Count: 200, Size: 1000}
			version = client.relay(t, s, command, trusted, w, told)
		})
	}
	tried(t, "pion/turn v5, TCP relays", version, "connects from one TCP relay to another: 200 messages of 1000 bytes there and back")
}

// relay runs the client, and looks at its relays while they live.
func (c iceClient) relay(t *testing.T, s *server, command []string, trusted string, w way, told talk) (version string) {
	t.Helper()
	nodes := []string{"a " + t.Name(), "b " + t.Name()}
	for i, node := range nodes {
		told.Users[i][0], told.Users[i][1] = s.credentials(t, node)
	}
	long := time.Duration(*minutes) * time.Minute
	if long > 0 {
		rate := cmp.Or(c.rate, 5)
		told.Count, told.Every = int(long.Seconds())*rate, 1000/rate
	}
	var arguments []string
	if c.tell != nil {
		arguments = c.tell(told)
	} else {
		b, err := json.Marshal(told)
		if err != nil {
			t.Fatal(err)
		}
		arguments = []string{string(b)}
	}
	cmd := exec.Command(command[0], append(slices.Clone(command[1:]), arguments...)...)
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
	timer := time.AfterFunc(90*time.Second+long*5/4, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var said struct {
		OK             bool
		Version, Error string
		Ms             int
	}
	failed := json.NewDecoder(out).Decode(&said)
	ways := s.relaying(t, nodes, uint64(told.Count*told.Size), 2) // while they live
	in.Close()
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil || failed != nil || !said.OK {
		t.Fatalf("%v, %v, %s\n%s\n%s", err, failed, said.Error, tail(stderr.String()), tail(s.logs()))
	}
	if len(ways) != 2 || ways[0] != w || ways[1] != w {
		t.Errorf("relays of that much over %v, want two over %s", ways, w)
	}
	t.Logf("%s %s: %d of %d bytes there and back, %d ms in all", c.name, said.Version, told.Count, told.Size, said.Ms)
	went(t, c.name, w)
	return said.Version
}

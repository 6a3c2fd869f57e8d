package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

var binary string

// binaryVariable has the program's path in a process that a test has started from itself, see inOwnNetwork.
const binaryVariable = "CROLANG_AIO_E2E_BINARY"

func TestMain(m *testing.M) {
	if binary = os.Getenv(binaryVariable); binary != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "crolang-aio-e2e-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "crolang-aio")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "../..")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	if *interopPage != "" {
		if err := writeTrials(*interopPage); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// peer skips the test where a peer program is missing, or fails it where all peers must be there.
func peer(t *testing.T, what string, ok bool) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
		t.Fatalf("%s is missing: run `make test`, which installs it", what)
	}
	t.Skipf("%s is not installed: `make test` installs it", what)
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	peer(t, name, err == nil)
	return path
}

// server is a running `crolang-aio serve`.
type server struct {
	cmd                     *exec.Cmd
	dir, config             string
	turn, tls, hooks, admin string
	redis, broker           string
	env                     []string        // beside the test's own environment
	sockets                 []*os.File      // passed as systemd does, from descriptor 3 on
	edit                    func(*exec.Cmd) // of how it is started; nil: nothing
	mu                      sync.Mutex
	log                     bytes.Buffer
	done                    chan struct{}
	err                     error
}

// serve starts the program with a configuration of its own; extra is appended to it, and edits replace in it.
func serve(t *testing.T, edits ...string) *server {
	t.Helper()
	return serveWith(t, func(*server) {}, edits...)
}

// serveWith lets the test prepare the process before it starts.
func serveWith(t *testing.T, prepare func(*server), edits ...string) *server {
	t.Helper()
	s := &server{dir: t.TempDir(), done: make(chan struct{})}
	addr := func() string { return must(freeports.Addr())(t) }
	s.turn, s.tls, s.hooks, s.admin, s.redis, s.broker = addr(), addr(), addr(), addr(), addr(), addr()
	conf := fmt.Sprintf(`
data_dir = "data"
drain_timeout = "2s"
[log]
format = "json"
[public]
host = "127.0.0.1"
ipv4 = "127.0.0.1"
ipv6 = "off"
[turn]
listen = [%q]
listen_tls = [%q]
relay_ports = "20000-24999"
[turn.limits]
unauthenticated_per_second = 0
[turn.peers]
allow = []
[hooks]
listen = %q
[hooks.rtc]
ice_transport_policy = "all"
advertise_tls = "auto"
[redis]
enabled = true
listen = %q
[admin]
listen = %q
[broker]
listen = %q
`, s.turn, s.tls, s.hooks, s.redis, s.admin, s.broker)
	if len(edits)%2 != 0 {
		t.Fatal("edits come in pairs")
	}
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(conf, edits[i]) {
			t.Fatalf("nothing to replace: %s", edits[i])
		}
		conf = strings.Replace(conf, edits[i], edits[i+1], 1)
	}
	s.config = filepath.Join(s.dir, "test.toml")
	if err := os.WriteFile(s.config, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	prepare(s)
	s.start(t)
	return s
}

// command is the process, not started.
func (s *server) command() *exec.Cmd {
	// LISTEN_PID must be the process's own.
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$; ulimit -n ${FILES:-$(ulimit -n)}; exec "$0" serve --config "$1"`, binary, s.config)
	cmd.ExtraFiles = s.sockets
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CROLANG_AIO_") })
	cmd.Env = append(cmd.Env, s.env...)
	if s.edit != nil {
		s.edit(cmd)
	}
	return cmd
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.done = make(chan struct{})
	s.cmd = s.command()
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(pipe)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			s.mu.Lock()
			s.log.Write(append(lines.Bytes(), '\n'))
			s.mu.Unlock()
		}
	}()
	go func() { <-read; s.err = s.cmd.Wait(); close(s.done) }()
	t.Cleanup(func() { s.stop(t) })
	s.ready(t)
}

// ready waits until /readyz says so.
func (s *server) ready(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case <-s.done:
			t.Fatalf("serve ended: %v\n%s", s.err, s.logs())
		default:
		}
		if res, err := http.Get("http://" + s.admin + "/readyz"); err == nil { //nolint:noctx // a short poll
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not ready within 20 s\n%s", s.logs())
}

func (s *server) logs() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// stop ends the program as an operator does and fails the test where it does not end cleanly or raced.
func (s *server) stop(t *testing.T) {
	t.Helper()
	select {
	case <-s.done:
	default:
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.done:
		case <-time.After(20 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.done
			t.Errorf("did not end within 20 s of SIGTERM\n%s", s.logs())
		}
		if s.err != nil {
			t.Errorf("ended with %v\n%s", s.err, s.logs())
		}
	}
	if log := s.logs(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
		t.Errorf("race or panic:\n%s", log)
	}
}

// rtc is an RTC configuration as the webhook answers it.
type rtc struct {
	IceServers []struct {
		URLs       []string `json:"urls"`
		Username   string   `json:"username"`
		Password   string   `json:"password"`
		Credential string   `json:"credential"`
	} `json:"iceServers"`
	IceTransportPolicy string `json:"iceTransportPolicy"`
}

// resolve asks the webhook for a Node's RTC configuration, as a Broker does; raw is its text.
func (s *server) resolve(t *testing.T, node string) (conf rtc, raw json.RawMessage) {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"nodeId": node})
	res, err := http.Post("http://"+s.hooks+"/resolve-rtc-configuration", "application/json", bytes.NewReader(body)) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("resolve-rtc-configuration: %s %v", res.Status, err)
	}
	var answer struct {
		RTC json.RawMessage `json:"rtcConfiguration"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if err := json.Unmarshal(answer.RTC, &conf); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return conf, answer.RTC
}

// credentials are a fresh username and password for a Node, from the webhook.
func (s *server) credentials(t *testing.T, node string) (username, password string) {
	t.Helper()
	conf, _ := s.resolve(t, node)
	for _, i := range conf.IceServers {
		if i.Username != "" {
			if i.Password != i.Credential {
				t.Fatal("password and credential differ")
			}
			return i.Username, i.Password
		}
	}
	t.Fatal("no credential in the RTC configuration")
	return "", ""
}

// run runs a command to its end within a minute and returns what it printed.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

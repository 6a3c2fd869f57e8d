package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// jvmEvent is a line that internal/e2e/jvm prints.
type jvmEvent struct {
	Event, Do, Cause, Peer, SHA256 string
	At                             int64 // milliseconds of the epoch
	Bytes, Count                   int
	Ms                             int64
	Ordered                        bool
}

// jvmNode is a Node in a JVM of its own.
type jvmNode struct {
	id     string
	in     io.Writer
	mu     sync.Mutex
	events []jvmEvent
	more   chan struct{} // closed and renewed with every event
	ended  bool
	log    strings.Builder
}

// jvmClasses compiles the peers against the jars that tools/peers.sh has brought, and returns the class path. The library
// of the JVM's Nodes is beside them where CROLANG_NODE_LIBRARY has a class path with it.
func jvmClasses(t *testing.T, library string) string {
	t.Helper()
	_, err := os.Stat("jvm/target/lib")
	peer(t, "the jars of internal/e2e/jvm", err == nil)
	javac := program(t, "javac")
	out := t.TempDir()
	classpath := "jvm/target/lib/*"
	sources, _ := filepath.Glob("jvm/src/*.java")
	if library != "" {
		classpath += ":" + library
		sources = append(sources, "jvm/library/Library.java")
	}
	if said, err := run(t, javac, append([]string{"-nowarn", "-cp", classpath, "-d", out}, sources...)...); err != nil {
		t.Fatalf("javac: %v\n%s", err, said)
	}
	return out + ":" + classpath
}

// startJVM starts a Node of a class and joins it to a Broker.
func startJVM(t *testing.T, classpath, class, id, url string, env ...string) *jvmNode {
	t.Helper()
	n := &jvmNode{id: id, more: make(chan struct{})}
	cmd := exec.Command(program(t, "java"), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true", "-cp", classpath, "Main", class)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &lockedWriter{n}
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.in = in
	read := make(chan struct{})
	go func() {
		defer close(read)
		n.read(out)
	}()
	t.Cleanup(func() {
		in.Close() // it ends by itself then
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("the JVM of %s ended with %v", id, err)
		}
		timer.Stop()
		if t.Failed() {
			t.Logf("%s: %+v\n%s", id, n.events, tail(n.log.String()))
		}
	})
	n.await(t, "its JVM to start", 0, func(e jvmEvent) bool { return e.Event == "ready" })
	n.do(t, map[string]any{"do": "join", "url": url, "id": id})
	return n
}

// lockedWriter has what a JVM writes to standard error.
type lockedWriter struct{ n *jvmNode }

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	return w.n.log.Write(b)
}

func (n *jvmNode) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "event ")
		var e jvmEvent
		if !ok || json.Unmarshal([]byte(text), &e) != nil {
			continue
		}
		n.mu.Lock()
		n.events = append(n.events, e)
		close(n.more)
		n.more = make(chan struct{})
		n.mu.Unlock()
	}
	n.mu.Lock()
	n.ended = true
	close(n.more)
	n.mu.Unlock()
}

// so is how many events there were so far.
func (n *jvmNode) so() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.events)
}

// await finds the first event from one on that matches, however long it takes to come, within a minute and a half.
func (n *jvmNode) await(t *testing.T, what string, from int, match func(jvmEvent) bool) jvmEvent {
	t.Helper()
	deadline := time.After(90 * time.Second)
	for i := from; ; {
		n.mu.Lock()
		for ; i < len(n.events); i++ {
			if e := n.events[i]; match(e) {
				n.mu.Unlock()
				return e
			} else if e.Event == "failed" {
				n.mu.Unlock()
				t.Fatalf("%s waits for %s: %s failed: %s", n.id, what, e.Do, e.Cause)
			}
		}
		more, ended := n.more, n.ended
		n.mu.Unlock()
		if ended {
			t.Fatalf("%s waits for %s: its JVM has ended", n.id, what)
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("%s waits for %s in vain", n.id, what)
		}
	}
}

// tell gives a command and does not wait; the number of events so far is for await.
func (n *jvmNode) tell(t *testing.T, command map[string]any) int {
	t.Helper()
	from := n.so()
	b, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.in.Write(append(b, '\n')); err != nil {
		t.Fatal(err)
	}
	return from
}

// do gives a command and waits until it is done.
func (n *jvmNode) do(t *testing.T, command map[string]any) jvmEvent {
	t.Helper()
	from := n.tell(t, command)
	return n.await(t, command["do"].(string), from, func(e jvmEvent) bool { return e.Event == "done" && e.Do == command["do"] })
}

// connect has n connect to another, and waits for both to know.
func (n *jvmNode) connect(t *testing.T, to *jvmNode) {
	t.Helper()
	from := to.so()
	took := n.do(t, map[string]any{"do": "connect", "peer": to.id})
	to.await(t, "the connection", from, func(e jvmEvent) bool { return e.Event == "connected" && e.Peer == n.id })
	t.Logf("%s connected to %s after %d ms", n.id, to.id, took.Ms)
}

// exchange sends bytes both ways at once and compares what arrives.
func exchange(t *testing.T, a, b *jvmNode, bytes int) {
	t.Helper()
	from := map[*jvmNode]int{}
	for i, n := range []*jvmNode{a, b} {
		other := []*jvmNode{b, a}[i]
		from[n] = n.tell(t, map[string]any{"do": "send", "peer": other.id, "bytes": bytes, "seed": i + 1})
	}
	for i, n := range []*jvmNode{a, b} {
		other := []*jvmNode{b, a}[i]
		sent := n.await(t, "sending", from[n], func(e jvmEvent) bool { return e.Event == "sending" })
		got := other.await(t, "the bytes", from[other], func(e jvmEvent) bool { return e.Event == "received" && e.Peer == n.id })
		if got.Bytes != bytes || got.SHA256 != sent.SHA256 {
			t.Errorf("%s sent %d bytes %s, %s received %d bytes %s", n.id, bytes, sent.SHA256, other.id, got.Bytes, got.SHA256)
		}
		t.Logf("%s to %s: %d bytes in %d ms", n.id, other.id, got.Bytes, got.At-sent.At)
	}
}

// Two Nodes on JVMs, of the libraries that the JVM's Node library stands on: Socket.IO's client and libwebrtc.
func TestJVMNodes(t *testing.T) {
	twoJVMNodes(t, jvmClasses(t, ""), "Caller")
	tried(t, "socket.io-client (JVM) with webrtc-java", jarVersion("socket.io-client")+" with "+jarVersion("webrtc-java"), jvmDeeds)
}

const jvmDeeds = "two Nodes join the built-in Broker, connect over their relays, exchange 10 MB and 1 000 messages both ways, come back after a restart and connect anew, notice a ban"

// jarVersion is the version of a jar that tools/peers.sh has brought.
func jarVersion(name string) string {
	all, _ := filepath.Glob("jvm/target/lib/" + name + "-*[0-9].jar") // those with a classifier come first
	if len(all) == 0 {
		return "?"
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(all[len(all)-1]), name+"-"), ".jar")
}

// sound runs a sound server without a sound card, and returns the environment that it is found by: the library has libwebrtc
// open the default one, and libwebrtc aborts the process where there is none.
func sound(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	env := "XDG_RUNTIME_DIR=" + dir
	path, err := exec.LookPath("pulseaudio")
	if err != nil {
		t.Fatalf("the library wants a sound server: install pulseaudio: %v", err)
	}
	cmd := exec.Command(path, "-n", "--exit-idle-time=-1", "--daemonize=no", "--use-pid-file=no",
		"--load=module-null-sink", "--load=module-native-protocol-unix socket="+dir+"/socket auth-anonymous=1")
	cmd.Env = append(os.Environ(), env)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(t, "a sound server", func() bool { _, err := os.Stat(dir + "/socket"); return err == nil })
	return "PULSE_SERVER=unix:" + dir + "/socket"
}

// Two Nodes of the real library, from a class path that the environment has.
func TestJVMNodeLibrary(t *testing.T) {
	library := os.Getenv("CROLANG_NODE_LIBRARY")
	if library == "" {
		t.Skip("CROLANG_NODE_LIBRARY has no class path with io.github.crolang-p2p:crolang-p2p-node-jvm")
	}
	first, _, _ := strings.Cut(library, ":")
	if _, err := os.Stat(first); errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("CROLANG_NODE_LIBRARY: %v", err)
	}
	twoJVMNodes(t, jvmClasses(t, library), "Library", sound(t))
	tried(t, "crolang-p2p-node-jvm", filepath.Base(first), jvmDeeds)
}

// twoJVMNodes has two Nodes connect over their relays, exchange 10 MB and 1 000 messages both ways, come back after a restart
// of the program with its Broker, connect anew, and notice a ban.
func twoJVMNodes(t *testing.T, classpath, class string, env ...string) {
	t.Helper()
	s := serve(t, `ice_transport_policy = "all"`, `ice_transport_policy = "relay"`)
	url := "http://" + s.broker
	alice, bob := startJVM(t, classpath, class, "Alice", url, env...), startJVM(t, classpath, class, "Bob", url, env...)

	alice.connect(t, bob)
	exchange(t, alice, bob, 10<<20)
	bytesRelayed(t, s, 20<<20)

	began := time.Now()
	const messages = 1000
	from := map[*jvmNode]int{
		alice: alice.tell(t, map[string]any{"do": "say", "peer": "Bob", "count": messages}),
		bob:   bob.tell(t, map[string]any{"do": "say", "peer": "Alice", "count": messages}),
	}
	for _, n := range []*jvmNode{alice, bob} {
		last := n.await(t, "the messages", from[n], func(e jvmEvent) bool { return e.Event == "heard" && e.Count == messages })
		if !last.Ordered && class == "Caller" { // the library itself hands messages over on several threads
			t.Errorf("%s heard messages out of order", n.id)
		}
	}
	t.Logf("%d messages each way through the Broker in %v", messages, time.Since(began).Round(time.Millisecond))

	from = map[*jvmNode]int{alice: alice.so(), bob: bob.so()}
	s.stop(t)
	s.start(t)
	for _, n := range []*jvmNode{alice, bob} {
		lost := n.await(t, "the loss of the Broker", from[n], func(e jvmEvent) bool { return e.Event == "disconnected" })
		back := n.await(t, "the Broker's return", from[n], func(e jvmEvent) bool { return e.Event == "rejoined" })
		t.Logf("%s is back %d ms after it lost the Broker", n.id, back.At-lost.At)
	}
	for _, n := range []*jvmNode{alice, bob} { // the relays went with the process
		n.await(t, "the end of the old relays", from[n], func(e jvmEvent) bool { return e.Event == "closed" })
	}
	alice.connect(t, bob)
	exchange(t, alice, bob, 100_000)

	from[alice] = alice.so()
	banned := time.Now()
	if code, text := s.ask(t, "POST", "/api/bans", `{"node":"Alice"}`); code != http.StatusCreated {
		t.Fatalf("ban: %d %s", code, text)
	}
	gone := alice.await(t, "the ban", from[alice], func(e jvmEvent) bool { return e.Event == "disconnected" })
	alice.await(t, "the Broker's no", from[alice], func(e jvmEvent) bool { return e.Event == "refused" && saysUnauthorized(e.Cause) })
	t.Logf("Alice noticed her ban after %d ms", gone.At-banned.UnixMilli())
	if late := gone.At - banned.UnixMilli(); late > 10_000 { // a status check comes within 30 s, her own time-out after 45 s
		t.Errorf("Alice noticed her ban after %d ms, want at once", late)
	}
	bob.await(t, "the end of Alice's relay", from[bob], func(e jvmEvent) bool { return e.Event == "closed" && e.Peer == "Alice" })
	t.Logf("Bob noticed it after %v", time.Since(banned).Round(time.Millisecond))
}

func saysUnauthorized(cause string) bool {
	return cause == "authentication failed" || cause == "UNAUTHORIZED"
}

// bytesRelayed fails the test where fewer bytes than these came from Nodes to their relays.
func bytesRelayed(t *testing.T, s *server, bytes uint64) {
	t.Helper()
	_, text := s.ask(t, "GET", "/api/allocations", "")
	var list adminapi.AllocationList
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for _, a := range list.Allocations {
		sum += a.BytesIn
	}
	if sum < bytes {
		t.Errorf("%d bytes went through %d relays, want at least %d", sum, len(list.Allocations), bytes)
	}
}

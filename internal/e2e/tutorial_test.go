package e2e

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// script starts a Node.js program that runs until the test ends, and returns its standard output by lines.
func script(t *testing.T, dir, node string, args ...string) <-chan string {
	t.Helper()
	cmd := exec.Command(node, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, done := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case lines <- s.Text():
			default: // more than anybody waits for
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return lines
}

// lineWith returns the first line that has what is wanted.
func lineWith(t *testing.T, lines <-chan string, want string) string {
	t.Helper()
	var seen []string
	late := time.After(time.Minute)
	for {
		select {
		case line, ok := <-lines:
			if strings.Contains(line, want) {
				return line
			}
			if seen = append(seen, line); ok {
				continue
			}
		case <-late:
		}
		t.Fatalf("nothing said %q:\n%s", want, strings.Join(seen, "\n"))
	}
}

// The Nodes of docs/tutorial.md talk to each other through relays alone, and the page shows what they print.
func TestTutorialNodes(t *testing.T) {
	const folder = "../../docs/tutorial"
	node := program(t, "node")
	_, err := os.Stat(folder + "/node_modules")
	peer(t, "npm packages of docs/tutorial", err == nil)
	s := serve(t)
	broker := "http://" + s.broker
	alice := script(t, folder, node, "node.mjs", broker, "Alice")
	lineWith(t, alice, "[Alice] waiting")
	bob := script(t, folder, node, "node.mjs", broker, "Bob", "Alice")

	page, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"[Bob] candidates: typ relay", "[Bob] connection: connecting", "[Bob] connection: connected",
		"[Bob] Alice says: hello Bob, this is Alice",
	} {
		if got := lineWith(t, bob, want); got != want {
			t.Errorf("%q, not %q", got, want)
		}
		if !strings.Contains(string(page), "\n"+want+"\n") {
			t.Errorf("docs/tutorial.md does not show %q", want)
		}
	}
	lineWith(t, alice, "[Alice] Bob says: hello Alice, this is Bob")
	if out, err := run(t, binary, "why", "Alice", "--with", "Bob", "--config", s.config); err != nil || !strings.Contains(out, "datagrams    yes") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, binary, "ban", "Alice", "--config", s.config); err != nil || !strings.Contains(out, "and its connection to the Broker") {
		t.Errorf("%v\n%s", err, out)
	}
	lineWith(t, alice, "[Alice] disconnected: io server disconnect")
	if out, err := run(t, binary, "why", "Alice", "--config", s.config); err != nil || !strings.Contains(out, "authenticated") || !strings.Contains(out, "allocation ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Whoever forgets an argument, or to start the Broker, is told.
func TestTutorialNodeMistakes(t *testing.T) {
	const folder = "../../docs/tutorial"
	node := program(t, "node")
	_, err := os.Stat(folder + "/node_modules")
	peer(t, "npm packages of docs/tutorial", err == nil)
	for want, args := range map[string][]string{
		"usage: node node.mjs BROKER_URL MY_ID [THEIR_ID]": nil,
		"[Alice] no Broker answers at http://127.0.0.1:1":  {"http://127.0.0.1:1", "Alice"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, node, append([]string{"node.mjs"}, args...)...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%q: %v %q", args, err, out)
		}
	}
}

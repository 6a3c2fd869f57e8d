package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var interopPage = flag.String("interop", "", "write which clients were tried into this page")

// trials are what this run puts into docs/interop.md, by client: a row, and the ways that it went.
var trials = struct {
	sync.Mutex
	rows map[string]string
	ways map[string][]way
}{rows: map[string]string{}, ways: map[string][]way{}}

// way is how a client came to the server, by udp, tcp, tls or dtls and the IPv4 or IPv6 of its address, and the family of the
// relayed address that it got.
type way struct{ transport, path, relayed string }

func (w way) String() string { return strings.TrimSpace(w.transport + " " + w.path + " " + w.relayed) }

// went notes for docs/interop.md that a client was relayed in this way, if nothing has failed.
func went(t *testing.T, client string, w way) {
	t.Helper()
	if t.Failed() {
		return
	}
	trials.Lock()
	defer trials.Unlock()
	trials.ways[client] = append(trials.ways[client], w)
}

// tried notes for docs/interop.md what a client did, if nothing has failed. It comes last in a test.
func tried(t *testing.T, client, version, what string) {
	t.Helper()
	if t.Failed() {
		return
	}
	test, _, _ := strings.Cut(t.Name(), "/")
	trials.Lock()
	defer trials.Unlock()
	trials.rows[client] = fmt.Sprintf("| %s | %s | %s | `%s` | %s |", client, version, what, test, time.Now().UTC().Format(time.DateOnly))
}

// writeTrials puts the rows of this run into the page, by client. Clients that it did not try keep their older rows.
func writeTrials(page string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	ways := make(map[string]string)
	for client, went := range trials.ways {
		ways[client] = waysRow(client, went)
	}
	text := string(b)
	for place, rows := range map[string]map[string]string{"tried": trials.rows, "ways": ways} {
		if text, err = withRows(text, place, rows); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// waysRow is a client's row in the table of ways: the families of its paths by transport, and those of its relayed addresses.
func waysRow(client string, went []way) string {
	row := "| " + client + " |"
	list := func(of func(way) string) {
		var all []string
		for _, w := range went {
			if f := of(w); f != "" && !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
		slices.Sort(all)
		row += " " + strings.Join(all, ", ") + " |"
	}
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		list(func(w way) string {
			if w.transport != transport {
				return ""
			}
			return w.path
		})
	}
	list(func(w way) string { return w.relayed })
	return row
}

// withRows replaces rows of the table at a place of a page's text, and adds those that it lacks.
func withRows(text, place string, made map[string]string) (string, error) {
	opening, closing := "<!-- "+place+": make interop -->\n", "<!-- /"+place+" -->"
	before, rest, ok := strings.Cut(text, opening)
	table, after, closed := strings.Cut(rest, closing)
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if !ok || !closed || len(lines) < 2 {
		return "", fmt.Errorf("no table with two first lines between %s and %s", strings.TrimSpace(opening), closing)
	}
	head, rows := lines[:2], lines[2:]
	for client, row := range made {
		rows = slices.DeleteFunc(rows, func(old string) bool { return strings.HasPrefix(old, "| "+client+" |") })
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return before + opening + "\n" + strings.Join(append(head, rows...), "\n") + "\n\n" + closing + after, nil
}

// npmVersion is the version of a package that is installed in a folder.
func npmVersion(t *testing.T, folder, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "node_modules", name, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ Version string }
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return p.Version
}

// says is what a command prints, in one line; a question mark where it fails.
func says(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

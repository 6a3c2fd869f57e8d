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

// trials are the rows of docs/interop.md that this run has made, by client.
var trials = struct {
	sync.Mutex
	rows map[string]string
}{rows: map[string]string{}}

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
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), "<!-- tried: make interop -->\n")
	table, after, closed := strings.Cut(rest, "<!-- /tried -->")
	if !ok || !closed {
		return fmt.Errorf("%s has no place for the table", page)
	}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) < 2 {
		return fmt.Errorf("%s has a table without its two first lines", page)
	}
	head, rows := lines[:2], lines[2:]
	for client, row := range trials.rows {
		rows = slices.DeleteFunc(rows, func(old string) bool { return strings.HasPrefix(old, "| "+client+" |") })
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	table = "\n" + strings.Join(append(head, rows...), "\n") + "\n\n"
	return os.WriteFile(page, []byte(before+"<!-- tried: make interop -->\n"+table+"<!-- /tried -->"+after), 0o644)
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

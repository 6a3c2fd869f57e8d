package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/config"
)

var update = flag.Bool("update", false, "write the generated part of the README")

const (
	tableBegin = "<!-- keys: go test -run TestReadmeKeys -update . -->\n"
	tableEnd   = "<!-- /keys -->"
)

// keyTable is the README's table of every configuration key, from the same source as `config init`.
func keyTable() string {
	var b strings.Builder
	for _, t := range config.Tables() {
		if t.Name == "" {
			b.WriteString("\n#### Top level\n\n")
		} else {
			fmt.Fprintf(&b, "\n#### `[%s]`\n\n", t.Name)
		}
		b.WriteString("| key | default | what it does |\n| --- | --- | --- |\n")
		for _, k := range t.Keys {
			doc := strings.ReplaceAll(strings.Join(strings.Fields(k.Doc), " "), "|", "\\|")
			if k.Secret {
				doc += " (secret)"
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", k.Leaf(), k.Default, doc)
		}
	}
	return b.String() + "\n"
}

// The README names every key, with its default.
func TestReadmeKeys(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(raw)
	begin, end := strings.Index(readme, tableBegin), strings.Index(readme, tableEnd)
	if begin < 0 || end < begin {
		t.Fatal("README.md has no place for the table of keys")
	}
	begin += len(tableBegin)
	want := keyTable()
	if readme[begin:end] == want {
		return
	}
	if !*update {
		t.Fatal("README.md does not have the keys as config has them: go test -run TestReadmeKeys -update .")
	}
	if err := os.WriteFile("README.md", []byte(readme[:begin]+want+readme[end:]), 0o600); err != nil {
		t.Fatal(err)
	}
}

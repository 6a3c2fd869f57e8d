package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/config"
)

const (
	tableBegin = "<!-- keys: go test ./internal/docs -run TestConfigurationPage -update -->\n"
	tableEnd   = "<!-- /keys -->"
)

// docs/configuration.md has every key, from the same source as `config init`.
func TestConfigurationPage(t *testing.T) {
	generated(t, "docs/configuration.md", reference())
}

// generated compares what a page has between the two marks; -update writes it.
func generated(t *testing.T, page, want string) {
	t.Helper()
	text := read(t, page)
	begin, end := strings.Index(text, tableBegin), strings.Index(text, tableEnd)
	if begin < 0 || end < begin {
		t.Fatalf("%s has no place for the table of keys", page)
	}
	begin += len(tableBegin)
	if text[begin:end] == want {
		return
	}
	if !*update {
		t.Errorf("%s does not have the keys as config has them: go test ./internal/docs -run TestConfigurationPage -update", page)
		return
	}
	if err := os.WriteFile(filepath.Join(root, page), []byte(text[:begin]+want+text[end:]), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reference is the part of docs/configuration.md that has every key.
func reference() string {
	var b strings.Builder
	cell := func(text string) string {
		return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
	}
	for _, t := range config.Tables() {
		if t.Name == "" {
			b.WriteString("\n## Top level\n\n")
		} else {
			fmt.Fprintf(&b, "\n## `[%s]`\n\n", t.Name)
		}
		if t.Doc != "" {
			b.WriteString(cell(t.Doc) + "\n\n")
		}
		b.WriteString("| key and variable | type | default | changes | what it does |\n| --- | --- | --- | --- | --- |\n")
		for _, k := range t.Keys {
			variables := "`" + k.Env + "`"
			if k.EnvFile != "" {
				variables += "<br>`" + k.EnvFile + "`"
			}
			doc := cell(k.Doc)
			if k.Example != "" {
				doc += " Example: `" + cell(k.Example) + "`."
			}
			when := "at a reload"
			if k.Restart {
				when = "at a restart"
			}
			kind := k.Type
			if k.Secret && !strings.Contains(kind, "secret") {
				kind += ", secret"
			}
			fmt.Fprintf(&b, "| `%s`<br>%s | %s | `%s` | %s | %s |\n", k.Leaf(), variables, cell(kind), k.Default, when, doc)
		}
	}
	return b.String() + "\n"
}

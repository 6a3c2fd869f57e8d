package admin

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryCauseHasWords holds the dashboard's words to the table of causes in docs/operations.md, which is held to the
// source elsewhere.
func TestEveryCauseHasWords(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := web.ReadFile("web/causes.js")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(doc), "| cause | code | means |")
	if !ok {
		t.Fatal("docs/operations.md has no table of causes")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	documented, worded := names("(?m)^\\| `(\\w+)`", table), names(`(?m)^  (\w+): "`, string(script))
	for _, kind := range refusedByWebhooks {
		documented = append(documented, string(kind))
	}
	slices.Sort(documented)
	if len(documented) == 0 || !slices.Equal(documented, worded) {
		t.Errorf("documented %v\nwith words %v", documented, worded)
	}
}

// TestEveryLeftHasWords holds the dashboard's words for what the kernel leaves to the sockets to docs/operations.md.
func TestEveryLeftHasWords(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := web.ReadFile("web/setup.js")
	if err != nil {
		t.Fatal(err)
	}
	_, said, ok := strings.Cut(string(doc), "and why the rest is left to the sockets: ")
	said, _, ok2 := strings.Cut(said, ".\n")
	_, words, ok3 := strings.Cut(string(script), "const LEFT = {\n")
	words, _, ok4 := strings.Cut(words, "\n}")
	if !ok || !ok2 || !ok3 || !ok4 {
		t.Fatal("docs/operations.md or web/setup.js does not say why")
	}
	documented, worded := names("`(\\w+)`", said), names(`(?m)^  (\w+): "`, words)
	if len(documented) == 0 || !slices.Equal(documented, worded) {
		t.Errorf("documented %v\nwith words %v", documented, worded)
	}
}

// names are the sorted matches of the first group.
func names(expr, text string) (list []string) {
	for _, m := range regexp.MustCompile(expr).FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	slices.Sort(list)
	return list
}

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
	names := func(expr, text string) (list []string) {
		for _, m := range regexp.MustCompile(expr).FindAllStringSubmatch(text, -1) {
			list = append(list, m[1])
		}
		slices.Sort(list)
		return list
	}
	documented, worded := names("(?m)^\\| `(\\w+)`", table), names(`(?m)^  (\w+): "`, string(script))
	for _, kind := range refusedByWebhooks {
		documented = append(documented, string(kind))
	}
	slices.Sort(documented)
	if len(documented) == 0 || !slices.Equal(documented, worded) {
		t.Errorf("documented %v\nwith words %v", documented, worded)
	}
}

package admin

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are docs/operations.md and a script of the dashboard.
func pages(t *testing.T, name string) (doc, script string) {
	t.Helper()
	d, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	s, err := web.ReadFile("web/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(d), string(s)
}

// between is what stands there in a text.
func between(t *testing.T, text, before, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, before)
	found, _, ok2 := strings.Cut(rest, after)
	if !ok || !ok2 {
		t.Fatalf("there is nothing between %q and %q", before, after)
	}
	return found
}

// same fails where not each of the documented names has words.
func same(t *testing.T, documented, worded []string) {
	t.Helper()
	if len(documented) == 0 || !slices.Equal(documented, worded) {
		t.Errorf("documented %v\nwith words %v", documented, worded)
	}
}

// TestEveryCauseHasWords holds the dashboard's words to the table of causes in docs/operations.md, which is held to the
// source elsewhere.
func TestEveryCauseHasWords(t *testing.T) {
	doc, script := pages(t, "causes.js")
	documented := names("(?m)^\\| `(\\w+)`", between(t, doc, "| cause | code | means |", "\n\n"))
	for _, kind := range refusedByWebhooks {
		documented = append(documented, string(kind))
	}
	slices.Sort(documented)
	same(t, documented, names(`(?m)^  (\w+): "`, script))
}

// TestKernelHasWords holds the dashboard's words for what the kernel leaves to the sockets, datagrams and channels, to
// docs/operations.md.
func TestKernelHasWords(t *testing.T) {
	doc, script := pages(t, "setup.js")
	for table, said := range map[string]string{
		"LEFT":  between(t, doc, "and why the rest is left to the sockets: ", ".\n"),
		"APART": between(t, doc, "how many channels no kernel could take: ", ".\n"),
	} {
		same(t, names("`(\\w+)`", said), names(`(?m)^  (\w+): "`, between(t, script, "const "+table+" = {\n", "\n}")))
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

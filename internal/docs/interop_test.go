package docs

import (
	"regexp"
	"strings"
	"testing"
)

// docs/interop.md names tests that exist, and has a row for every client that a test of package e2e tries.
func TestInteropPage(t *testing.T) {
	const page = "docs/interop.md"
	text, all := read(t, page), testsOf(t, "internal/e2e/*_test.go")
	table, _, _ := strings.Cut(text, "<!-- /tried -->")
	for _, m := range regexp.MustCompile("`(Test[A-Z]\\w*)`").FindAllStringSubmatch(text, -1) {
		if !all[m[1]] {
			t.Errorf("%s names %s, which is no test of internal/e2e: run make interop", page, m[1])
		}
	}
	tried := regexp.MustCompile(`(?:tried\(t, |\t\{name: )"([^"]+)"`)
	n := 0
	for _, file := range []string{"chromium", "coturn", "firefox", "ice_clients", "jvm", "restart_axios", "socketio"} {
		for _, m := range tried.FindAllStringSubmatch(read(t, "internal/e2e/"+file+"_test.go"), -1) {
			if n++; !strings.Contains(table, "| "+m[1]+" |") {
				t.Errorf("%s has no row for %s: run make interop", page, m[1])
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d clients were found", n)
	}
}

// Package docs holds the documentation to what the program is: its tests fail where a page names what is not there, or
// leaves out what is. Each failure says what to write where.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the folder of the module, seen from this package.
const root = "../.."

// read is a file of the module, by its path from the root.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages are README.md, the other pages at the root, and docs/*.md, by their paths from the root.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no pages in docs: %v", err)
	}
	all := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, path := range found {
		all = append(all, filepath.Join("docs", filepath.Base(path)))
	}
	return all
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\[[^\]\n]*\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// prose is a page without its blocks of code.
func prose(page string) string { return fence.ReplaceAllString(page, "") }

// anchors are the fragments of a page's headings, made as GitHub makes them.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(prose(page), -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(strings.TrimSpace(m[1])) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z':
				b.WriteRune(r)
			}
		}
		all[b.String()] = true
	}
	return all
}

// Every link that stays in the project leads somewhere: to a file that is there, and to a heading that it has.
func TestLinksResolve(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		text := code.ReplaceAllString(prose(read(t, page)), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			n++
			path, fragment, _ := strings.Cut(target, "#")
			file := filepath.Join(filepath.Dir(page), path)
			if path == "" {
				file = page
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, target)
				continue
			}
			if fragment != "" && !anchors(read(t, file))[fragment] {
				t.Errorf("%s links to %s, but %s has no such heading", page, target, file)
			}
		}
	}
	if n == 0 {
		t.Error("no link was found, so this test says nothing")
	}
}

// Every page of docs/ can be reached from the front page.
func TestReadmeNamesEveryPage(t *testing.T) {
	readme := read(t, "README.md")
	for _, page := range pages(t)[1:] {
		if !strings.Contains(readme, "("+filepath.ToSlash(page)+")") {
			t.Errorf("README.md does not link to %s: add it to the list of its Documentation section", page)
		}
	}
}

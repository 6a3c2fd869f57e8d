package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testsOf are the names of all tests and fuzz targets of a folder's files that match.
func testsOf(t *testing.T, pattern string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	all := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz")) {
				all[fn.Name.Name] = true
			}
		}
	}
	return all
}

// docs/security.md names tests that exist, and every test of a case that strangers try.
func TestSecurityPageNamesTests(t *testing.T) {
	const page = "docs/security.md"
	cases, all := map[string]bool{}, map[string]bool{}
	for _, pattern := range []string{"turnsrv/security_*_test.go", "internal/e2e/security_*_test.go"} {
		for name := range testsOf(t, pattern) {
			cases[name], all[name] = true, true
		}
	}
	for _, folder := range foldersOf(t) {
		if files, _ := filepath.Glob(filepath.Join(root, folder, "*_test.go")); len(files) > 0 {
			for name := range testsOf(t, filepath.Join(folder, "*_test.go")) {
				all[name] = true
			}
		}
	}
	for _, folder := range []string{"turnsrv/relay", "turnsrv/control", "turnsrv/stunmsg"} {
		for name := range testsOf(t, filepath.Join(folder, "*_test.go")) {
			all[name] = true
		}
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`").FindAllStringSubmatch(read(t, page), -1) {
		named[m[1]] = true
		if !all[m[1]] {
			t.Errorf("%s names %s, which is no test: mend the name", page, m[1])
		}
	}
	for name := range cases {
		if !named[name] {
			t.Errorf("%s does not name %s: add it to the row of what it shows, or a new one", page, name)
		}
	}
}

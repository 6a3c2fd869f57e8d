package docs

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	architecture = "docs/architecture.md"
	module       = "github.com/crolang-p2p/crolang-aio"
	roomsBegin   = "<!-- rooms: go test ./internal/docs -run TestArchitecturePage -update -->\n"
	roomsEnd     = "<!-- /rooms -->"
	rulesBegin   = "<!-- rules: go test ./internal/docs -run TestArchitecturePage -update -->\n"
	rulesEnd     = "<!-- /rules -->"

	maxDepth = 7 // packages from main to a leaf, both counted
)

// room is a package of the program.
type room struct {
	path    string // below the module; "." is main
	purpose string // the first sentence of its comment
	imports []string
}

// rooms reads every package but those that have only tests.
func rooms(t *testing.T) map[string]room {
	t.Helper()
	all := make(map[string]room)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); name == "node_modules" || name == "testdata" || name == "dist" || name == "tools" || strings.HasPrefix(name, ".") && name != ".." {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
			return filepath.SkipDir // a module of its own, which is no part of the program
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if r := readRoom(t, filepath.ToSlash(rel)); r.path != "" {
			all[r.path] = r
		}
		return nil
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("%d packages: %v", len(all), err)
	}
	return all
}

// readRoom reads the package in a folder; its path is empty if there is none.
func readRoom(t *testing.T, folder string) (r room) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file, nil, parser.ParseComments|parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		r.path = folder
		if f.Doc != nil && r.purpose == "" {
			r.purpose = new(doc.Package).Synopsis(f.Doc.Text())
		}
		for _, path := range ownImports(t, f) {
			if !slices.Contains(r.imports, path) {
				r.imports = append(r.imports, path)
			}
		}
	}
	slices.Sort(r.imports)
	return r
}

// ownImports are the module's packages that a file imports.
func ownImports(t *testing.T, f *ast.File) (own []string) {
	t.Helper()
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if rest, ok := strings.CutPrefix(path, module+"/"); ok {
			own = append(own, rest)
		}
	}
	return own
}

// The page has every package with its purpose and what it imports, and every rule of depguard.
func TestArchitecturePage(t *testing.T) {
	all := rooms(t)
	var table strings.Builder
	table.WriteString("\n| package | what it is for | imports |\n| --- | --- | --- |\n")
	for _, path := range slices.Sorted(maps.Keys(all)) {
		r := all[path]
		if path == "." {
			path = "main.go"
		}
		if strings.HasPrefix(path, "bench/") {
			continue // programs beside the program
		}
		purpose := regexp.MustCompile(`^(Package|Command) \S+ (is |has |does )?`).ReplaceAllString(r.purpose, "")
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", path, strings.ReplaceAll(strings.TrimSuffix(purpose, "."), "|", `\|`), quotedList(r.imports))
	}
	marked(t, architecture, roomsBegin, roomsEnd, table.String()+"\n")

	var rules strings.Builder
	rules.WriteString("\n| packages | import none of | why |\n| --- | --- | --- |\n")
	for _, r := range depguard(t) {
		for _, d := range r.deny {
			fmt.Fprintf(&rules, "| %s | `%s` | %s |\n", quotedList(r.files), d[0], d[1])
		}
	}
	marked(t, architecture, rulesBegin, rulesEnd, rules.String()+"\n")
}

func quotedList(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return "`" + strings.Join(all, "`, `") + "`"
}

// marked compares what a page has between two marks; -update writes it.
func marked(t *testing.T, page, begin, end, want string) {
	t.Helper()
	text := read(t, page)
	from := strings.Index(text, begin)
	to := strings.Index(text, end)
	if from < 0 || to < from {
		t.Fatalf("%s lacks %s", page, begin)
	}
	from += len(begin)
	if text[from:to] == want {
		return
	}
	if !*update {
		t.Errorf("%s is not as the code is: run what stands in its mark, %s", page, strings.TrimSpace(begin))
		return
	}
	if err := os.WriteFile(filepath.Join(root, page), []byte(text[:from]+want+text[to:]), 0o600); err != nil {
		t.Fatal(err)
	}
}

type rule struct {
	files []string
	deny  [][2]string // package, why
}

// depguard reads who may import whom from .golangci.yml: the rules about this module's packages.
func depguard(t *testing.T) (all []rule) {
	t.Helper()
	text := read(t, ".golangci.yml")
	_, text, ok := strings.Cut(text, "    depguard:\n      rules:\n")
	if !ok {
		t.Fatal(".golangci.yml has no rules of depguard")
	}
	text, _, _ = strings.Cut(text, "\n  exclusions:")
	name := regexp.MustCompile(`(?m)^        [a-z]+:.*$`)
	deny := regexp.MustCompile(`\{pkg: ` + regexp.QuoteMeta(module) + `(/\S+?)?, desc: "([^"]+)"\}`)
	file := regexp.MustCompile(`"\*\*/([^"]+?)(?:/\*\*)?/\*\.go"`)
	starts := append(name.FindAllStringIndex(text, -1), []int{len(text)})
	for i, at := range starts[:len(starts)-1] {
		block := text[at[0]:starts[i+1][0]]
		var r rule
		for _, m := range file.FindAllStringSubmatch(block, -1) {
			r.files = append(r.files, m[1])
		}
		for _, m := range deny.FindAllStringSubmatch(block, -1) {
			what := strings.TrimSuffix(strings.TrimPrefix(m[1], "/"), "$")
			if what == "" {
				what = "any other of ours"
			}
			r.deny = append(r.deny, [2]string{what, m[2]})
		}
		if len(r.files) > 0 && len(r.deny) > 0 {
			all = append(all, r)
		}
	}
	if len(all) < 5 {
		t.Fatalf("only %d rules were found", len(all))
	}
	return all
}

// The bounds of the house: what CONTRIBUTING or a reviewer would have to say again and again.
func TestHouse(t *testing.T) {
	all := rooms(t)
	for path := range all {
		for _, part := range strings.Split(path, "/") {
			if slices.Contains([]string{"util", "utils", "common", "misc", "helpers", "shared", "base"}, part) {
				t.Errorf("%s: a package is called after what it is for", path)
			}
		}
	}
	if got := all["."].imports; !slices.Equal(got, []string{"internal/cli"}) {
		t.Errorf("main.go imports %v, not internal/cli alone", got)
	}
	rootFiles, err := filepath.Glob(filepath.Join(root, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range rootFiles {
		if name := filepath.Base(file); name != "main.go" && name != "main_test.go" {
			t.Errorf("%s stands at the root, which has main.go alone", name)
		}
	}
	if n := strings.Count(read(t, "main.go"), "\n"); n > 40 {
		t.Errorf("main.go has %d lines, at most 40", n)
	}
	way := deepest(all, ".")
	if t.Logf("the deepest way in has %d packages: %s", len(way), strings.Join(way, " → ")); len(way) > maxDepth {
		t.Errorf("it has at most %d", maxDepth)
	}
	if all["turnsrv"].reaches(all, "hooks") || all["hooks"].reaches(all, "turnsrv") {
		t.Error("turnsrv and hooks see each other")
	}
	for path, r := range all {
		if slices.Contains(r.imports, "config") && !slices.Contains([]string{"internal/app", "internal/cli"}, path) {
			t.Errorf("%s imports config, which internal/app and internal/cli alone know", path)
		}
	}
}

// deepest is the longest way from a package through what it imports.
func deepest(all map[string]room, from string) []string {
	var below []string
	for _, next := range all[from].imports {
		if way := deepest(all, next); len(way) > len(below) {
			below = way
		}
	}
	return append([]string{from}, below...)
}

func (r room) reaches(all map[string]room, target string) bool {
	return slices.ContainsFunc(r.imports, func(path string) bool { return path == target || all[path].reaches(all, target) })
}

package docs

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write anew what the pages have from elsewhere")

const operations = "docs/operations.md"

// section is what stands in a page between a heading and the next one.
func section(t *testing.T, page, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, page), "\n"+name+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", page, name)
	}
	if at := regexp.MustCompile(`(?m)^##? `).FindStringIndex(rest); at != nil {
		rest = rest[:at[0]]
	}
	return rest
}

// firstCells are the codes that begin the rows of the tables in a text.
func firstCells(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// compare fails where a page's table lacks a row that there should be, or has one that there should not.
func compare(t *testing.T, table string, have, want []string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(have, w) {
			t.Errorf("%s: the table of %s has no row for it. Add: | `%s` | WHAT IT MEANS |", operations, table, w)
		}
	}
	for _, h := range have {
		if !slices.Contains(want, h) {
			t.Errorf("%s: the table of %s has %s, which there is not: remove the row", operations, table, h)
		}
	}
}

// Every metric of the program stands in the table, with its labels.
func TestMetricsPageIsComplete(t *testing.T) {
	labels := map[string]map[string]bool{}
	sample := regexp.MustCompile(`(?m)^(crolang_aio_\w+)(?:\{(.*)\})? `)
	for _, m := range sample.FindAllStringSubmatch(read(t, "internal/admin/metrics/testdata/metrics.golden"), -1) {
		name := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m[1], "")
		if labels[name] == nil {
			labels[name] = map[string]bool{}
		}
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels[name][l[1]] = true
			}
		}
	}
	var want []string
	for name, of := range labels {
		if len(of) > 0 {
			name += "{" + strings.Join(slices.Sorted(maps.Keys(of)), ",") + "}"
		}
		want = append(want, name)
	}
	compare(t, "metrics", firstCells(section(t, operations, "## Metrics")), want)
}

// Every cause of a refusal stands in the table of refusals.
func TestRefusalsPageIsComplete(t *testing.T) {
	found := map[string]bool{}
	text := func(e ast.Expr) (string, bool) {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(lit.Value)
		return s, err == nil && s != ""
	}
	number := func(e ast.Expr) bool { // or what is one
		if call, ok := e.(*ast.CallExpr); ok {
			fun, ok := call.Fun.(*ast.SelectorExpr)
			return ok && fun.Sel.Name == "forbidden"
		}
		lit, ok := e.(*ast.BasicLit)
		return ok && lit.Kind == token.INT
	}
	pairs := func(list []ast.Expr) { // 508, "cause"
		for i := 1; i < len(list); i++ {
			if s, ok := text(list[i]); ok && number(list[i-1]) {
				found[s] = true
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "turnsrv/control/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				fun, ok := n.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				switch fun.Sel.Name {
				case "refuse", "note", "challenge", "refused":
					pairs(n.Args)
				case "bad":
					if s, ok := text(n.Args[0]); ok {
						found[s] = true
					}
				}
			case *ast.AssignStmt:
				pairs(n.Rhs)
			case *ast.ReturnStmt:
				pairs(n.Results)
			}
			return true
		})
	}
	delete(found, "no_credential") // crolang_aio_turn_challenges_total
	if len(found) < 15 {
		t.Fatalf("only %d causes were found: %v", len(found), found)
	}
	compare(t, "refusals", firstCells(section(t, operations, "## Refusals and drops")), slices.Collect(maps.Keys(found)))
}

const (
	figuresBegin = "<!-- figures: go test ./internal/docs -run TestSizing -update -->\n"
	figuresEnd   = "<!-- /figures -->"
)

// The figures for sizing are those of docs/benchmarks.md, and what follows from them by division.
func TestSizing(t *testing.T) {
	median := func(row string) float64 {
		m := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(row) + ` *\| [^|]*\|[^|]*\| *([0-9. ]+) *[(|]`).
			FindStringSubmatch(strings.ReplaceAll(read(t, "docs/benchmarks.md"), "\u202f", " "))
		if m == nil {
			t.Fatalf("docs/benchmarks.md has no row %q", row)
		}
		v, err := strconv.ParseFloat(strings.ReplaceAll(m[1], " ", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var b strings.Builder
	b.WriteString("\n| what | measured | one core, if it did nothing else |\n| --- | ---: | ---: |\n")
	for _, row := range []string{
		"UDP to the peer, 40 000/s, 8 clients", "UDP to the client, 40 000/s, 8 clients",
		"UDP to the peer, as fast as possible, 4 clients", "UDP to the client, as fast as possible, 4 clients",
		"echo, 50 clients at 200/s each, 160 bytes",
		"TCP client to peer, 40 000/s, 8 clients", "peer to TCP client, 40 000/s, 8 clients",
		"TLS client to peer, 40 000/s, 8 clients", "peer to TLS client, 40 000/s, 8 clients",
	} {
		us := median(row)
		fmt.Fprintf(&b, "| %s | %.2f µs CPU | %.0f 000 datagrams/s |\n", row, us, 1000/us)
	}
	us := median("setting up an allocation")
	fmt.Fprintf(&b, "| setting up an allocation | %.0f µs CPU | %.0f allocations/s |\n", us, 1e6/us)
	fmt.Fprintf(&b, "| an idle allocation | %.1f kB | |\n", median("an idle allocation, of 2 000 in a fresh process"))
	fmt.Fprintf(&b, "| resident when idle | %.1f MB | |\n\n", median("resident when idle"))

	page := read(t, operations)
	begin, end := strings.Index(page, figuresBegin), strings.Index(page, figuresEnd)
	if begin < 0 || end < begin {
		t.Fatalf("%s has no place for the figures", operations)
	}
	begin += len(figuresBegin)
	switch {
	case page[begin:end] == b.String():
	case !*update:
		t.Errorf("%s does not have the figures of docs/benchmarks.md: go test ./internal/docs -run TestSizing -update", operations)
	default:
		if err := os.WriteFile(filepath.Join(root, operations), []byte(page[:begin]+b.String()+page[end:]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

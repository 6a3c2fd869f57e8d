package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/losses"
)

const (
	lossesBegin = "<!-- losses: go test ./internal/docs -run TestLosses -update -->\n"
	lossesEnd   = "<!-- /losses -->"
)

// The table of what is refused, displaced or dropped is the one that findings are made of.
func TestLosses(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| cause | means | what to do | found from |\n| --- | --- | --- | ---: |\n")
	for _, area := range losses.Areas() {
		known := losses.Causes(area)
		if len(known) == 0 {
			t.Errorf("%s has no causes", area)
		}
		for _, name := range slices.Sorted(maps.Keys(known)) {
			c := known[name]
			fmt.Fprintf(&b, "| `%s %s` | %s | %s | %d |\n", area, name, c.Means, c.Remedy, c.Least)
		}
	}
	b.WriteString("\n")
	page := read(t, operations)
	begin, end := strings.Index(page, lossesBegin), strings.Index(page, lossesEnd)
	if begin < 0 || end < begin {
		t.Fatalf("%s has no place for the causes", operations)
	}
	begin += len(lossesBegin)
	switch {
	case page[begin:end] == b.String():
	case !*update:
		t.Errorf("%s does not have the causes of package losses: go test ./internal/docs -run TestLosses -update", operations)
	default:
		if err := os.WriteFile(filepath.Join(root, operations), []byte(page[:begin]+b.String()+page[end:]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

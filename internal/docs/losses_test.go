package docs

import (
	"fmt"
	"maps"
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
	marked(t, operations, lossesBegin, lossesEnd, b.String())
}

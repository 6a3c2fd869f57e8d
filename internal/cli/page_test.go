package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// docs/commands.md has every command, and none that is not there.
func TestCommandsPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var each func(before string, all []*cli.Command)
	each = func(before string, all []*cli.Command) {
		for _, c := range all {
			switch {
			case c.Hidden || c.Name == "help":
			case len(c.Subcommands) > 0:
				each(before+c.Name+" ", c.Subcommands)
			default:
				known[before+c.Name] = true
			}
		}
	}
	each("", Commands())
	listed := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cell, _, _ := strings.Cut(strings.ReplaceAll(line[2:], `\|`, "/"), " |")
		for _, m := range regexp.MustCompile("`([a-z-]+( [a-z-]+)?)[^`]*`").FindAllStringSubmatch(cell, -1) {
			listed[m[1]] = true
		}
	}
	for name := range known {
		if !listed[name] {
			t.Errorf("docs/commands.md lacks %q", name)
		}
	}
	for name := range listed {
		if !known[name] {
			t.Errorf("docs/commands.md has %q, which is no command", name)
		}
	}
}

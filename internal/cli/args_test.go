package cli

import (
	"strings"
	"testing"
)

func TestFamiliar(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"x --version", "x version"},
		{"x -v --json", "x version --json"},
		{"x help", "x --help"},
		{"x help config check", "x config check --help"},
		{"x ban help", "x ban help"},
		{"x", "x"},
	} {
		if got := strings.Join(familiar(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestReorder(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"x credential Alice --ttl 5m --json", "x credential --ttl 5m --json -- Alice"},
		{"x credential --json Alice", "x credential --json -- Alice"},
		{"x ban Mallory --for=1h --reason spam", "x ban --for=1h --reason spam -- Mallory"},
		{"x ban --reason spam -- --odd-id", "x ban --reason spam -- --odd-id"},
		{"x config check --config f", "x config check --config f"},
		{"x serve -c f", "x serve -c f"},
		{"x --help", "x --help"},
		{"x", "x"},
		{"x nonsense --config f", "x nonsense --config f"},
		{"x ban Alice --reason", "x ban --reason"},
		{"x credential Alice --ttl", "x credential --ttl"},
	} {
		if got := strings.Join(reorder(Commands(), strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

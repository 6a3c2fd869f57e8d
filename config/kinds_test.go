package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// each calls f for what is in v, with its path.
func each(path string, v any, f func(string, any)) {
	switch v := v.(type) {
	case map[string]any:
		for name, in := range v {
			f(below(path, toml.Key{name}.String()), in)
		}
	case []any:
		for i, in := range v {
			f(fmt.Sprintf("%s[%d]", path, i), in)
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "1B": 1, "2 kB": 2000, "3MB": 3e6, "1GB": 1e9, "512KiB": 512 << 10, "16MiB": 16 << 20, "1 GiB": 1 << 30,
		"500GB": 500e9, "2 TB": 2e12, "1TiB": 1 << 40, "1PB": 1e15, "1PiB": 1 << 50, "0": 0,
		"9223372036854775807": 1<<63 - 1,
	} {
		if got, ok := parseSize(s); !ok || got != want {
			t.Errorf("%q: %d, %t", s, got, ok)
		}
	}
	for _, s := range []string{"", "B", "-1", "+1", "1.5MiB", "16mib", "16 MiBs", "9223372036854775808", "9223372036854775807KiB", "1_000"} {
		if got, ok := parseSize(s); ok {
			t.Errorf("%q: %d", s, got)
		}
	}
	for n, want := range map[int64]string{1: "1B", 1500: "1500B", 1 << 10: "1KiB", 3 << 20: "3MiB", 1 << 30: "1GiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestLongListIsRefused(t *testing.T) {
	_, err := load("turn.peers.allow = [" + strings.Repeat("'::1',", 100_001) + "]")
	if err == nil || err.Error() != "fuzz.toml:1: turn.peers.allow: must not have more than 100000 entries" {
		t.Error(err)
	}
}

// An error quotes what is short.
func TestQuoted(t *testing.T) {
	if got := quoted(strings.Repeat("é", 100)); len(got) > 100 || !strings.HasSuffix(got, `…"`) {
		t.Error(got)
	}
	if got := quoted("a\nb"); got != `"a\nb"` {
		t.Error(got)
	}
}

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// valid checks what callers of Load rely on.
func valid(t *testing.T, c *Config) {
	t.Helper()
	if c.Turn.RelayPorts.Min == 0 || c.Turn.RelayPorts.Min > c.Turn.RelayPorts.Max {
		t.Errorf("relay ports %v", c.Turn.RelayPorts)
	}
	if len(c.Turn.Transports) == 0 || len(c.Turn.Listen)+len(c.Turn.ListenTLS) == 0 || c.Turn.Peers.Mode == "" {
		t.Errorf("turn %+v", c.Turn)
	}
	if c.Credentials.TTL <= 0 || c.Credentials.MaxSession <= 0 || c.DrainTimeout < 0 || c.Turn.Limits.AllocationLifetime > time.Hour {
		t.Errorf("durations %+v", c)
	}
	if c.Hooks.Authorize.Groups == nil || c.DataDir == "" || (c.Certs.CertFile == "") != (c.Certs.KeyFile == "") {
		t.Errorf("%+v", c)
	}
	for _, text := range append([]string{c.Hooks.Listen, c.Admin.Listen, c.Redis.Listen}, c.Turn.Listen...) {
		if a, err := listen.Parse(text); err != nil || a.String() != text {
			t.Errorf("address %q", text)
		}
	}
	c.Warnings()
}

func load(text string) (*Config, error) {
	return (&loader{file: "fuzz.toml", read: func(string) {}}).load(text)
}

// Any bytes give a valid Config, or an error of one line for each mistake, with its place.
func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, file := range append(files, examplePath) {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(full)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			t.Skip("long")
		}
		c, err := load(text)
		if err == nil {
			valid(t, c)
			return
		}
		if c != nil || !errors.Is(err, ErrInvalid) {
			t.Fatalf("%v, %v", c, err)
		}
		mistakes := err.(interface{ Unwrap() []error }).Unwrap()
		for _, m := range mistakes {
			e := m.(*Error) //nolint:errorlint // not wrapped
			if strings.ContainsFunc(e.Error(), func(r rune) bool { return unicode.IsControl(r) }) {
				t.Errorf("control characters in %q", e.Error())
			}
			if e.Line == 0 && e.Err.Error() != "not TOML" {
				t.Errorf("no line: %s", e)
			}
		}
	})
}

// What is wrong with the TOML of a value is told without the value.
func FuzzSyntaxHidesValues(f *testing.F) {
	for _, s := range []string{"hush", "1hush", `"hush`, `"\uhush"`, "1_hush", "+0xhush", "1979-hush", `"""hush`, "[hush", "{hush", "hush.hush"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, "\n=") { // then it can be a key, which is told
			t.Skip("more than a value")
		}
		_, err := load("[credentials]\nsecret = " + value)
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Error(err)
		}
	})
}

// Every key that the library finds has a line.
func FuzzFindLines(f *testing.F) {
	f.Add(full)
	f.Add("a.\"b c\" = [{x = 1}, 'y']\n[[t]]\n[[t.u]]\n[t.u.v]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<12 {
			t.Skip("long")
		}
		lines := findLines(text) // whatever it is, it ends
		var doc map[string]any
		if decodeTOML(text, &doc) != nil {
			return
		}
		count := 1 + strings.Count(text, "\n")
		var check func(path string, v any)
		check = func(path string, v any) {
			if n := lines[path]; path != "" && (n < 1 || n > count) {
				t.Errorf("%q: line %d of %d in %q", path, n, count, text)
			}
			each(path, v, check)
		}
		check("", plain(doc))
	})
}

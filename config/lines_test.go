package config

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestFindLines(t *testing.T) {
	text := "\xef\xbb\xbf# comment [x]\r\n" + `top = """
a " # [no]
""""" # ends here
[a."b.c".'d']   # line 5
"quo\u0074ed" = 'x # y'
e = [ # line 7
  "one", "]",

  [2,
   3],
]
[[f]]
g = {h = 1, i.j = [{k = "}"}, {
  k = 2}]}
[[f]]
g = '''
'''
[f.sub]
l = 1979-05-27 07:32:00
[f.sub.deep]
`
	want := map[string]int{
		"top": 2, "a": 5, `a."b.c"`: 5, `a."b.c".d`: 5, `a."b.c".d.quoted`: 6,
		`a."b.c".d.e`: 7, `a."b.c".d.e[0]`: 8, `a."b.c".d.e[1]`: 8, `a."b.c".d.e[2]`: 10, `a."b.c".d.e[2][0]`: 10, `a."b.c".d.e[2][1]`: 11,
		"f": 13, "f[0]": 13, "f[0].g": 14, "f[0].g.h": 14, "f[0].g.i": 14, "f[0].g.i.j": 14,
		"f[0].g.i.j[0]": 14, "f[0].g.i.j[0].k": 14, "f[0].g.i.j[1]": 14, "f[0].g.i.j[1].k": 15,
		"f[1]": 16, "f[1].g": 17, "f[1].sub": 19, "f[1].sub.l": 20, "f[1].sub.deep": 21,
	}
	if got := findLines(text); !maps.Equal(got, want) {
		for _, k := range slices.Sorted(maps.Keys(got)) {
			if got[k] != want[k] {
				t.Errorf("%s: line %d, want %d", k, got[k], want[k])
			}
			delete(want, k)
		}
		t.Errorf("not found: %v", want)
	}
	var doc map[string]any
	if err := decodeTOML(text, &doc); err != nil {
		t.Errorf("the library does not take it: %v", err)
	}
}

// What the library would have refused ends somehow.
func TestFindLinesInNonsense(t *testing.T) {
	for _, text := range []string{"[", "[[", "a", "a.", "a=", "a=[", "a={", "a={b", "a = \"", `"\x" = 1`, "[a]]", "= 1", "a = [1 2]", "{", "a=[,,]", `"`} {
		findLines(text)
	}
}

func TestSyntaxErrorOfTheUnexpected(t *testing.T) {
	for _, err := range []error{errors.New("hush"), toml.ParseError{Message: "some hush"}} {
		if got := syntaxError("x.toml", err); got.Err.Error() != "not TOML" {
			t.Error(got)
		}
	}
}

func TestNesting(t *testing.T) {
	for text, line := range map[string]int{
		"a = [[[]]] # [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[":             0,
		`a = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[[[[[[[[[[[[["`:                 0,
		"a = '''\n[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[['''":                   0,
		"a = 1\nb = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[":                    2,
		"a = {{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{":                    1,
		"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1": 1,
		"a.a = 1\nb.b = 1.0\nc.c = [1.0, 2.0]":                                      0,
	} {
		got := 0
		if err := checkNesting(text); err != nil {
			got = err.line
		}
		if got != line {
			t.Errorf("%s: line %d, want %d", text, got, line)
		}
	}
}

package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern   string
		yes, no   []string
		exact     bool
		byRegexp  bool
		wantTrail string
	}{
		{pattern: "Alice", yes: []string{"Alice"}, no: []string{"alice", "Alice2", "xAlice"}, exact: true},
		{pattern: "*", yes: []string{"a", "a/b.c:d", "🦊"}},
		{pattern: "**", yes: []string{"a", "a/b"}},
		{pattern: "cam-*", yes: []string{"cam-", "cam-1", "cam-a/b"}, no: []string{"cam", "xcam-"}},
		{pattern: "*-cam", yes: []string{"-cam", "a-cam"}, no: []string{"cam", "a-camx"}, byRegexp: true},
		{pattern: "a*b*c", yes: []string{"abc", "a-b-b-c"}, no: []string{"ab", "acb"}, byRegexp: true},
		{pattern: "a?c", yes: []string{"abc", "a🦊c"}, no: []string{"ac", "abbc"}, byRegexp: true},
		{pattern: "[abc]x", yes: []string{"ax", "cx"}, no: []string{"dx", "x"}, byRegexp: true},
		{pattern: "[!a-c]x", yes: []string{"dx", "-x"}, no: []string{"ax"}, byRegexp: true},
		{pattern: "[a-]x", yes: []string{"ax", "-x"}, no: []string{"bx"}, byRegexp: true},
		{pattern: `[\]\^a]x`, yes: []string{"]x", "^x", "ax"}, no: []string{"bx"}, byRegexp: true},
		{pattern: `[^a]x`, yes: []string{"^x", "ax"}, no: []string{"bx"}, byRegexp: true},
		{pattern: "[[:alpha:]]", yes: []string{"a]", ":]", "[]"}, no: []string{"z]", "a"}, byRegexp: true},
		{pattern: "{cam,door}-*", yes: []string{"cam-1", "door-"}, no: []string{"lock-1"}, byRegexp: true},
		{pattern: "{a*,b{c,d}}x", yes: []string{"ax", "aaax", "bcx", "bdx"}, no: []string{"bx", "cx"}, byRegexp: true},
		{pattern: "x{,y}", yes: []string{"x", "xy"}, no: []string{"xx"}, byRegexp: true},
		{pattern: `\*\?\[\{\\`, yes: []string{`*?[{\`}, no: []string{"x"}, exact: true},
		{pattern: "a.b+(c)|d^$", yes: []string{"a.b+(c)|d^$"}, no: []string{"axb"}, exact: true},
		{pattern: "a]},b", yes: []string{"a]},b"}, exact: true},
		{pattern: "{*}{*}", yes: []string{"x"}, byRegexp: true},
	} {
		t.Run(c.pattern, func(t *testing.T) {
			g, err := compileGlob(c.pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range c.yes {
				if !g.Match(id) {
					t.Errorf("does not match %q", id)
				}
			}
			for _, id := range c.no {
				if g.Match(id) {
					t.Errorf("matches %q", id)
				}
			}
			if g.exact != c.exact || (g.match != nil) != c.byRegexp {
				t.Errorf("exact %v, by regexp %v", g.exact, g.match != nil)
			}
		})
	}
}

func TestGlobErrors(t *testing.T) {
	for pattern, want := range map[string]error{
		"":                             errGlobEmpty,
		strings.Repeat("x", 257):       errGlobNever,
		"*" + strings.Repeat("?", 257): errGlobNever,
		"a\nb":                         errGlobNever,
		"a\xff":                        errGlobNever,
		strings.Repeat("x", 1025):      errGlobLong,
		`a\`:                           errGlobEscape,
		`[\`:                           errGlobEscape,
		"[abc":                         errGlobClass,
		"[]":                           errGlobClass,
		"[!]":                          errGlobClass,
		"[a-":                          errGlobClass,
		"[z-a]":                        errGlobRange,
		"{a,b":                         errGlobBrace,
		"{":                            errGlobBrace,
		"{a{b}":                        errGlobBrace,
		strings.Repeat("{", 9) + "a" + strings.Repeat("}", 9): errGlobNesting,
	} {
		if _, err := compileGlob(pattern); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", pattern, err, want)
		}
	}
}

// TestGlobIsLinear matches patterns at which a backtracking matcher despairs.
func TestGlobIsLinear(t *testing.T) {
	id := strings.Repeat("a", nodeid.MaxLen)
	began := time.Now()
	for _, pattern := range []string{"{*a*,*a*}{*a*,*a*}{*a*,*a*}{*a*,*a*}c[x]", strings.Repeat("*a", 100) + "b?", "*{a,aa}*{a,aa}*{a,aa}*{a,aa}*b[x]"} {
		g, err := compileGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if g.Match(id) {
			t.Errorf("%s matches", pattern)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"*", "a", true}, {"*", "{a,b}", true}, {"**", "*", true}, {"a", "a", true}, {"a", "*", false}, {"a*", "ab*", true},
		{"ab*", "a*", false}, {"*b", "a*b", true}, {"a*b", "*b", false}, {"a?", "ab", true}, {"a?", "a?", true}, {"a?", "a*", false},
		{"?*", "*", false}, {"*", "?*", true}, {"a*c", "abbc", true}, {"a*c", "a*b*c", true}, {"{a,b}", "{a,b}", true}, {"{a,b}", "a", true},
		{"[ab]", "{a,b}", false}, {"a*a", "aa", true}, {"a*a", "a", false}, {`\*`, "*", false}, {"*", `\*`, true},
	} {
		wide, err := compileGlob(c.wide)
		if err != nil {
			t.Fatal(err)
		}
		narrow, err := compileGlob(c.narrow)
		if err != nil {
			t.Fatal(err)
		}
		if got := wide.covers(narrow); got != c.want {
			t.Errorf("%s covers %s: %v", c.wide, c.narrow, got)
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, seed := range []string{"a*", "[!a-z]?", "{a,{b,c*}}", `\*`, "[]]", "{,", "[a-\\]]"} {
		f.Add(seed, "abc")
	}
	f.Fuzz(func(t *testing.T, pattern, id string) {
		if g, err := compileGlob(pattern); err == nil {
			if g.exact && g.Match(id) != (id == g.literal) {
				t.Errorf("%q is not exact", pattern)
			}
			g.Match(id)
		}
		if nodeid.Valid(id) != nil {
			return
		}
		// Match takes canonical ids. One whose canonical spelling would be too long is none that a pattern can spell.
		if id = nodeid.Canonical(id); id != nodeid.Spell(id) {
			return
		}
		g, err := compileGlob(quoteGlob(id))
		if len(quoteGlob(id)) > maxGlob {
			return
		}
		if err != nil || !g.Match(id) || g.Match(id+"x") || g.Match("x"+id) {
			t.Errorf("%q quoted is %q: %v", id, quoteGlob(id), err)
		}
	})
}

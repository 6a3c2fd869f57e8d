package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValid(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: true, `[]`: true, ` [1, 2.5e-3,-0,"x\u00e9\n",null,true,false,{"a":{"b":[{}]}}] `: true,
		``: false, `{`: false, `[1,]`: false, `{"a"}`: false, `{"a":1,}`: false, `01`: false, `1.`: false, `-`: false, `.5`: false,
		`"a` + "\n" + `"`: false, `"\x"`: false, `"\u12g4"`: false, `nul`: false, `[] []`: false, `{a:1}`: false, `'a'`: false,
		`[1}`: false, `{"a":1]`: false, "\ufeff{}": false,
		strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000): true,
		strings.Repeat("[", 500_000):                                false,
		strings.Repeat(`{"a":[`, 900) + strings.Repeat("]}", 900):   true,
		strings.Repeat(`{"a":[`, 900) + strings.Repeat("}]", 900):   false,
	} {
		if got := Valid([]byte(text)); got != want {
			t.Errorf("Valid(%.40q) = %v, want %v", text, got, want)
		}
	}
}

func TestObjectLastMemberCounts(t *testing.T) {
	var got []string
	if err := Object([]byte(` { "a" : 1 , "\u0061":[2] } `), func(name, value []byte) {
		got = append(got, string(name)+"="+string(value))
	}); err != nil || strings.Join(got, " ") != "a=1 a=[2]" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{`[]`, `null`, `{"a":1`, `{"a":1}x`, `{"a":1,}`, `{,}`, `"a"`, ``} {
		if Object([]byte(bad), func(_, _ []byte) {}) == nil {
			t.Errorf("%s passed", bad)
		}
	}
}

func TestTrim(t *testing.T) {
	if got := Trim([]byte("\ufeff \u3000\u2028a b\v\u00a0\t")); string(got) != "a b" {
		t.Errorf("%q", got)
	}
	if got := Trim([]byte("\u200b")); string(got) != "\u200b" {
		t.Errorf("zero width space is no white space: %q", got)
	}
}

// What encoding/json takes is taken, and means the same; it is laxer about depth here alone.
func FuzzAgainstEncodingJSON(f *testing.F) {
	for _, s := range []string{`{"to":"Bob","x":[1,2,{"a":null}]}`, `"\ud83e\udd8a\ud800x\/"`, `[1e5,-0.1]`, `"` + "\u2028" + `<>&"`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) {
			return
		}
		got, want := Valid(b), json.Valid(b)
		if got != want && strings.Count(string(b), "[")+strings.Count(string(b), "{") < 10_000 {
			t.Fatalf("Valid = %v, encoding/json says %v", got, want)
		}
		if !got {
			return
		}
		var s string
		if trimmed := b[Space(b, 0):]; trimmed[0] == '"' && json.Unmarshal(b, &s) == nil {
			end, _ := Skip(trimmed, 0)
			text := AppendText(nil, trimmed[:end])
			if string(text) != s {
				t.Fatalf("text %q, want %q", text, s)
			}
			var back string
			if err := json.Unmarshal(AppendQuoted(nil, text), &back); err != nil || back != s {
				t.Fatalf("quoted %q came back as %q, %v", s, back, err)
			}
		}
		members := map[string]string{}
		var values map[string]json.RawMessage
		if Object(b, func(name, value []byte) { members[string(name)] = string(value) }) == nil && json.Unmarshal(b, &values) == nil {
			for name, value := range values {
				if members[name] != string(value) {
					t.Fatalf("member %q is %s, want %s", name, members[name], value)
				}
			}
		}
	})
}

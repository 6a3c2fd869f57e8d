package terminal

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"alice":      "alice",
		"Zoë 😀 日本":   "Zoë 😀 日本",
		"a\x1b[31m":  `a\x1b[31m`,
		"a\u202eb":   `a\u202eb`,
		"\n\t\x00":   `\n\t\x00`,
		"\xff":       `\ufffd`,
		"\U000e0001": `\U000e0001`,
		// These count as printable and show nothing.
		"a\u3164": `a\u3164`, "a\ufe0f": `a\ufe0f`, "a\u034f": `a\u034f`, "a\u2800": `a\u2800`, "a\u115f": `a\u115f`,
		"a\u1160": `a\u1160`, "a\uffa0": `a\uffa0`, "a\u180b": `a\u180b`, "a\u17b4": `a\u17b4`, "a\U000e0100": `a\U000e0100`,
		"a\U0001d159": `a\U0001d159`, "a\U00013441": `a\U00013441`, "a\U00016fe4": `a\U00016fe4`,
		"a\u0301\u0302\u0303\u0304b\u0301": "a\u0301\u0302" + `\u0303\u0304` + "b\u0301", // a heap of marks
		// These are no printable characters at all.
		"a\u00ad": `a\u00ad`, "a\u00a0": `a\u00a0`, "a\u200b": `a\u200b`, "a\u2060": `a\u2060`, "a\ufeff": `a\ufeff`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%+q) = %q, want %q", in, got, want)
		}
	}
}

func TestPrintJSON(t *testing.T) {
	type answer struct{ A string }
	in := answer{"a\u3164\ufe0f\U000e0100\x1b😀<\xff"}
	var b bytes.Buffer
	if err := PrintJSON(&b, in); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"A\": \"a\\u3164\\ufe0f\\udb40\\udd00\\u001b😀<\\ufffd\"\n}\n"; b.String() != want {
		t.Errorf("got %s, want %s", b.String(), want)
	}
	var back answer
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.A != "a\u3164\ufe0f\U000e0100\x1b😀<\ufffd" {
		t.Errorf("reads back as %+q, %v", back.A, err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestTable(t *testing.T) {
	var b bytes.Buffer
	table := NewTable(&b, "NODE", "SEEN")
	table.Line("a\u2800", "now")
	if err := table.Flush(); err != nil || b.String() != "NODE     SEEN\na\\u2800  now\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	for in, want := range map[string]string{"a b": "a b", " a": `\x20a`, "a ": `a\x20`, "a  b": `a\x20 b`, "  ": `\x20\x20`, "": ""} {
		if got := cell(in); got != want {
			t.Errorf("cell(%q) = %q, want %q", in, got, want)
		}
	}
	broken := NewTable(fullDisk{}, "A")
	if broken.Flush() == nil {
		t.Error("an error of the writer was lost")
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[31mb\xff\u202e\u0085\u3164")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Printable(s) {
			if !visible(r) || unicode.IsControl(r) {
				t.Errorf("%+q has %+q", s, r)
			}
		}
		if strings.Contains(Printable(s), "\n") {
			t.Errorf("%+q is more than one line", s)
		}
	})
}

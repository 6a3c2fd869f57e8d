package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// readers gives the same text whole, as a stream, and as a stream of single bytes.
func readers(text string) map[string]*Reader {
	whole, stream, bytewise := &Reader{}, &Reader{}, &Reader{}
	whole.ResetBytes([]byte(text))
	stream.Reset(strings.NewReader(text))
	bytewise.Reset(iotest.OneByteReader(strings.NewReader(text)))
	return map[string]*Reader{"whole": whole, "stream": stream, "bytewise": bytewise}
}

func skipAll(r *Reader) error {
	if err := r.Skip(); err != nil {
		return err
	}
	return r.End()
}

func TestSkip(t *testing.T) {
	deep := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	for _, c := range []struct {
		text string
		want error
	}{
		{`{}`, nil}, {` [ ] `, nil}, {`{"a":{"b":[1,-2.5e+3,0,"x",true,false,null]},"c":[]}`, nil}, {`"\u00e9\n\/"`, nil}, {deep, nil},
		{`0`, nil}, {`-0.5E-2`, nil}, {`12`, nil},
		{``, ErrSyntax}, {` `, ErrSyntax}, {`{`, ErrSyntax}, {`{"a"}`, ErrSyntax}, {`{"a":}`, ErrSyntax}, {`{"a":1,}`, ErrSyntax}, {`{,}`, ErrSyntax},
		{`[1,]`, ErrSyntax}, {`[1 2]`, ErrSyntax}, {`{1:2}`, ErrSyntax}, {`[}`, ErrSyntax}, {`{"a":1]`, ErrSyntax}, {`1 2`, ErrSyntax},
		{`01`, ErrSyntax}, {`-`, ErrSyntax}, {`1.`, ErrSyntax}, {`1e`, ErrSyntax}, {`.5`, ErrSyntax}, {`+1`, ErrSyntax}, {`tru`, ErrSyntax},
		{`nulL`, ErrSyntax}, {"\"a\nb\"", ErrSyntax}, {`"\x"`, ErrSyntax}, {`"\u12g4"`, ErrSyntax}, {`"abc`, ErrSyntax}, {`"\`, ErrSyntax},
		{"\ufeff{}", ErrSyntax}, {`'a'`, ErrSyntax},
		{"[" + deep + "]", ErrDeep}, {strings.Repeat("[", 1_000_000), ErrDeep}, {strings.Repeat(`{"a":`, 1_000_000), ErrDeep},
	} {
		for how, r := range readers(c.text) {
			if got := skipAll(r); !errors.Is(got, c.want) {
				t.Errorf("%s %.40q: %v, want %v", how, c.text, got, c.want)
			}
		}
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{`"plain"`, "plain", true},
		{`""`, "", true},
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t", true},
		{`"\u0041\u00e9\u20AC"`, "Aé€", true},
		{`"\ud83d\ude00!"`, "😀!", true},
		{`"🦊"`, "🦊", true},
		{`"\ud83dx"`, "\ufffdx", false},
		{`"\ud83d"`, "\ufffd", false},
		{`"\ude00\ud83d"`, "\ufffd\ufffd", false},
		{`"\ud83d\u0041"`, "\ufffdA", false},
		{`"` + strings.Repeat("long ", 5000) + `\n"`, strings.Repeat("long ", 5000) + "\n", true},
	} {
		for how, r := range readers(c.text) {
			raw, escaped, err := r.RawString()
			if err != nil {
				t.Fatalf("%s %.40q: %v", how, c.text, err)
			}
			if string(raw) != c.text[1:len(c.text)-1] {
				t.Errorf("%s: raw %.40q of %.40q", how, raw, c.text)
			}
			got, ok := AppendUnquoted(nil, raw)
			if string(got) != c.want || ok != c.ok || escaped != strings.Contains(c.text, `\`) {
				t.Errorf("%s %.40q: %.40q %v %v", how, c.text, got, ok, escaped)
			}
		}
	}
}

func TestObject(t *testing.T) {
	const text = ` {"id" : "a", "i\u0064":"b" , "skip":[{"x":{}},1], "flag":true,"list":["c",2]}x`
	for how, r := range readers(text) {
		var seen []string
		err := r.Object(func(name []byte) error {
			switch string(name) {
			case "id":
				raw, _, err := r.RawString()
				seen = append(seen, "id="+string(raw))
				return err
			case "flag":
				flag, err := r.Bool()
				if flag {
					seen = append(seen, "flag")
				}
				return err
			case "list":
				return r.Array(func() error {
					kind, err := r.Kind()
					seen = append(seen, string(kind))
					return errors.Join(err, r.Skip())
				})
			}
			return r.Skip()
		})
		if got := strings.Join(seen, " "); err != nil || got != `id=a id=b flag " 0` {
			t.Errorf("%s: %q, %v", how, got, err)
		}
		if r.Offset() != len(text)-1 {
			t.Errorf("%s: offset %d", how, r.Offset())
		}
		if err := r.End(); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: trailing text: %v", how, err)
		}
	}
}

func TestTypesAndSourceErrors(t *testing.T) {
	r := &Reader{}
	r.ResetBytes([]byte(`[]`))
	if err := r.Object(nil); !errors.Is(err, ErrType) {
		t.Errorf("object: %v", err)
	}
	r.ResetBytes([]byte(`1`))
	if _, err := r.Bool(); !errors.Is(err, ErrType) {
		t.Errorf("bool: %v", err)
	}
	if _, _, err := r.RawString(); !errors.Is(err, ErrType) {
		t.Errorf("string: %v", err)
	}
	if err := r.Array(nil); !errors.Is(err, ErrType) {
		t.Errorf("array: %v", err)
	}
	broken := errors.New("the line is cut")
	r.Reset(io.MultiReader(strings.NewReader(`{"a":"b`), iotest.ErrReader(broken)))
	if err := r.Skip(); !errors.Is(err, broken) {
		t.Errorf("source: %v", err)
	}
	r.Reset(io.MultiReader(strings.NewReader(`1`), iotest.ErrReader(broken)))
	if err := skipAll(r); !errors.Is(err, broken) {
		t.Errorf("source at the end: %v", err)
	}
}

func TestDepthCanBeRaised(t *testing.T) {
	r := &Reader{MaxDepth: 2_000_000}
	r.Reset(strings.NewReader(strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000)))
	if err := skipAll(r); err != nil {
		t.Fatal(err)
	}
	r.ResetBytes([]byte(`1`))
	if r.stack != nil {
		t.Error("the stack of a huge text is kept")
	}
}

func TestAppendString(t *testing.T) {
	got := string(AppendString([]byte("x"), "a\"\\\n\x7f\x00\u2028é\xffz"))
	if want := `x"a\"\\\u000a\u007f\u0000\u2028é\ufffdz"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzSkip(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"\u00e9"],"b":null}`, `[[]]`, `"\ud83d\ude00"`, `{"a":1,"a":2}`, `-0`, `[1,]`, "\"\x01\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &Reader{MaxDepth: 9000} // encoding/json stops at 10 000
		r.ResetBytes(text)
		whole := skipAll(r)
		if valid := json.Valid(text); !errors.Is(whole, ErrDeep) && valid != (whole == nil) {
			t.Fatalf("%q: %v, encoding/json says %v", text, whole, valid)
		}
		r.Reset(iotest.OneByteReader(bytes.NewReader(text)))
		if stream := skipAll(r); !errors.Is(stream, whole) {
			t.Fatalf("%q: %v whole, %v as a stream", text, whole, stream)
		}
	})
}

func FuzzString(f *testing.F) {
	for _, seed := range []string{`a\u00e9\n`, `\ud83d\ude00`, `\ud83d`, "\xff", "\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, inner string) {
		text := []byte(`"` + inner + `"`)
		r := &Reader{}
		r.ResetBytes(text)
		raw, _, err := r.RawString()
		var want string
		if jsonErr := json.Unmarshal(text, &want); err != nil || r.End() != nil {
			if jsonErr == nil {
				t.Fatalf("%q: %v, encoding/json takes it", text, err)
			}
			return
		} else if jsonErr != nil {
			t.Fatalf("%q is taken, encoding/json says %v", text, jsonErr)
		}
		if got, _ := AppendUnquoted(nil, raw); utf8.ValidString(inner) && string(got) != want {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
		var again string
		if err := json.Unmarshal(AppendString(nil, want), &again); err != nil || again != want {
			t.Fatalf("%q written and read is %q, %v", want, again, err)
		}
	})
}

// TestLongStringsAreNotGathered is of strings that come in parts, also with the limit within an escape.
func TestLongStringsAreNotGathered(t *testing.T) {
	r := Reader{MaxString: 100}
	for n, long := range map[int]bool{90: false, 100: false, 101: true, 3 * bufferSize: true} {
		for _, unit := range []string{"x", `\u0041`} {
			text := `"` + strings.Repeat(unit, n/len(unit)) + strings.Repeat("x", n%len(unit)) + `"`
			r.Reset(iotest.OneByteReader(strings.NewReader(text)))
			raw, _, err := r.RawString()
			if long != errors.Is(err, ErrLong) || !long && (err != nil || `"`+string(raw)+`"` != text) {
				t.Errorf("%d bytes of %s: %d bytes, %v", n, unit, len(raw), err)
			}
		}
	}
}

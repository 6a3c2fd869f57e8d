package strictjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

type request struct {
	Node   string `json:"node"`
	Kind   string `json:"kind"`
	N      int    `json:"n"`
	Sub    struct{ A, B []int }
	Labels map[string]string `json:"labels"`
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		text string
		want error
	}{
		{`{}`, nil}, {` {"node":"é\ud83d\ude00","n":1,"sub":{"a":[1],"B":[]},"labels":{"x":"y"}} `, nil},
		{``, ErrSyntax}, {`{`, ErrSyntax}, {`{}x`, ErrSyntax}, {`{} {}`, ErrSyntax}, {`{"n":01}`, ErrSyntax}, {"{\"node\":\"a\nb\"}", ErrSyntax},
		{`[]`, ErrType}, {`null`, ErrType}, {`"x"`, ErrType}, {`{"node":7}`, ErrType}, {`{"n":"secret"}`, ErrType}, {`{"n":1e400}`, ErrType},
		{`{"node":"a","node":"a"}`, ErrTwice}, {`{"node":"a","NODE":"a"}`, ErrTwice}, {`{"node":"a","nod\u0065":"b"}`, ErrTwice},
		{`{"kind":"a","` + "\u212a" + `ind":"a"}`, ErrTwice}, // the Kelvin sign folds to k
		{`{"sub":{"a":[],"A":[]}}`, ErrTwice}, {`{"labels":{"` + "\u017f" + `":"","s":""}}`, ErrTwice},
		{`{"labels":{"x":"","y":{"x":"","x":""}}}`, ErrTwice},
		{"{\"node\":\"\xff\"}", ErrText}, {`{"node":"\ud83d"}`, ErrText}, {"{\"\xff\":1}", ErrText},
		{`{"sub":{"a":[[[[[[]]]]]]}}`, ErrDeep}, {strings.Repeat(`{"sub":`, 1_000_000), ErrDeep},
	} {
		var into request
		err := Decode([]byte(c.text), 6, &into)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%.60q: %v, want %v", c.text, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60q: the error quotes it: %v", c.text, err)
		}
	}
	var into request
	if err := Decode([]byte(`{"node":"a","reason":"b"}`), 6, &into); err == nil || !strings.Contains(err.Error(), `"reason"`) {
		t.Errorf("unknown field: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"node":"a","kind":"b","n":1}`, `{"node":"a","node":"b"}`, `{"sub":{"a":[1,2],"b":null}}`, `{}x`, `[`, ``, `{"node":{"a":1}}`,
		`{"labels":{"a":"\ud83d\ude00"}}`, "{\"\u212aind\":\"\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want, again request
		if Decode(text, 16, &got) != nil {
			return
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q: encoding/json says %v", text, err)
		}
		// Nothing in it was read twice or mended: another decoder that takes the last of two fields reads the same.
		one, _ := json.Marshal(got)
		two, _ := json.Marshal(want)
		if string(one) != string(two) {
			t.Fatalf("%q: %s, encoding/json %s", text, one, two)
		}
		if err := Decode(one, 16, &again); err != nil {
			t.Fatalf("%q is taken, and what it was read as is not: %s: %v", text, one, err)
		}
	})
}

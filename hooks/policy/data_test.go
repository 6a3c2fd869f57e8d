package policy

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTokenFrom(t *testing.T) {
	long, err := json.Marshal(map[string]string{"token": strings.Repeat("x", 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ data, token, cause string }{
		{``, "", causeNoToken},
		{`null`, "", causeNoToken},
		{`{"token":"t"}`, "t", ""},
		{`{"a":[{}],"token":"t\u0041","b":1}`, "tA", ""},
		{`{}`, "", causeNoToken},
		{`{"token":""}`, "", causeNoToken},
		{`{"token":7}`, "", causeNoText},
		{`{"token":null}`, "", causeNoText},
		{`{"token":{"token":"t"}}`, "", causeNoText},
		{`{"token":"a","token":"b"}`, "", causeTwice},
		{`{"token":"a","tok\u0065n":"b"}`, "", causeTwice},
		{`{"Token":"t"}`, "", causeNoToken},
		{`"{\"token\":\"t\"}"`, "t", ""},
		{`" {\"token\" : \"t\"} "`, "t", ""},
		{`"{\"token\":\"a\",\"token\":\"b\"}"`, "", causeTwice},
		{`"{\"token\":7}"`, "", causeNoText},
		{`"{}"`, "", causeNoToken},
		{`""`, "", causeNoToken},
		{`"bare"`, "bare", ""},
		{`"eyJh.eyJz.c2ln"`, "eyJh.eyJz.c2ln", ""},
		{`"{\"token\""`, `{"token"`, ""},
		{`"12345"`, "12345", ""},
		{`"true"`, "true", ""},
		{`"null"`, "", causeNoToken},
		{`"\"quoted\""`, "quoted", ""},
		{`"[\"t\"]"`, "", causeDataFormat},
		{`["{\"token\":\"t\"}","x"]`, "t", ""},
		{`["bare",7]`, "bare", ""},
		{`[]`, "", causeNoToken},
		{`[7,"t"]`, "", causeNoText},
		{`[["t"]]`, "", causeNoText},
		{`7`, "", causeDataFormat},
		{`true`, "", causeDataFormat},
		{string(long), "", causeLongToken},
	} {
		token, cause := tokenFrom([]byte(c.data))
		if token != c.token || cause != c.cause {
			t.Errorf("%.60s: %.20q %q, want %q %q", c.data, token, cause, c.token, c.cause)
		}
	}
}

func FuzzTokenFrom(f *testing.F) {
	for _, seed := range []string{`{"token":"t"}`, `"{\"token\":\"t\"}"`, `["a",7]`, `"\ud800"`, `[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if token, cause := tokenFrom(data); (token == "") == (cause == "") {
			t.Errorf("%q: %q %q", data, token, cause)
		}
	})
}

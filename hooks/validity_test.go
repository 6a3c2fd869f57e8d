package hooks

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func invalidOf(t *testing.T, got answer) []string {
	t.Helper()
	var parsed map[string][]string
	if err := json.Unmarshal([]byte(got.body), &parsed); err != nil || got.status != 200 || parsed["invalidNodesIds"] == nil {
		t.Fatalf("%d %.200s: %v", got.status, got.body, err)
	}
	return parsed["invalidNodesIds"]
}

func TestValidityOfManyNodes(t *testing.T) {
	r := start(t, nil)
	nodes := make([]string, 100_000)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("node-%08d-abcdefghijkl", i)
	}
	nodes[5], nodes[77_777], nodes[99_999] = "Ben", "Mallory", "Bea"
	body, err := json.Marshal(map[string]any{"connectedNodesIds": nodes})
	if err != nil {
		t.Fatal(err)
	}
	if len(body) < 2_500_000 {
		t.Fatalf("only %d bytes", len(body))
	}
	if got := invalidOf(t, r.post(PathValidity, string(body), nil)); !slices.Equal(got, []string{"Ben", "Bea", "Mallory"}) {
		t.Errorf("%v", got)
	}
	if len(r.registry.connected) != len(nodes)-3 || slices.Contains(r.registry.connected, "Mallory") {
		t.Errorf("%d connected", len(r.registry.connected))
	}
}

// TestValidityNamesOddIds checks that an id that we would not accept is named just as the Broker spelled it.
func TestValidityNamesOddIds(t *testing.T) {
	r := start(t, nil)
	odd := []string{"", strings.Repeat("x", 10<<10), "a\nb", "\x00", "tab\t", "\u0085", "quote\"\n", `back\slash` + "\n"}
	body, _ := json.Marshal(map[string]any{"connectedNodesIds": append([]string{"Alice", "colon:colon", "🦊", " "}, odd...)})
	if got := invalidOf(t, r.post(PathValidity, string(body), nil)); !slices.Equal(got, odd) {
		t.Errorf("%q", got)
	}
	got := r.post(PathValidity, "{\"connectedNodesIds\":[\"\\ud800\\u0041\",\"a\xff\"]}", nil)
	if want := `{"invalidNodesIds":["\ud800\u0041","a\ufffd"]}`; got.body != want {
		t.Errorf("%s, want %s", got.body, want)
	}
}

func TestValidityShapes(t *testing.T) {
	r := start(t, nil)
	deep := strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000)
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"deep entry":      {`{"connectedNodesIds":[` + deep + `,"Ben"]}`, 200},
		"deep field":      {`{"x":` + deep + `,"connectedNodesIds":["Ben"]}`, 200},
		"duplicate field": {`{"connectedNodesIds":["Alice"],"connectedNodesIds":["Ben"]}`, 200},
		"white space":     {" {\n\t\"connectedNodesIds\" : [ \"Ben\" , \"Alice\" ] } \r\n", 200},
		"missing":         {`{}`, 400},
		"null":            {`{"connectedNodesIds":null}`, 400},
		"string":          {`{"connectedNodesIds":"Ben"}`, 400},
		"object":          {`{"connectedNodesIds":{}}`, 400},
		"no object":       {`["Ben"]`, 400},
		"empty":           {``, 400},
		"cut":             {`{"connectedNodesIds":["Ben"`, 400},
		"trailing":        {`{"connectedNodesIds":["Ben"]}]`, 400},
		"deep text":       {deep, 400},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.post(PathValidity, c.body, nil)
			if got.status != c.want {
				t.Fatalf("%d %s", got.status, got.body)
			}
			want := `{"invalidNodesIds":["Ben"]}`
			if c.want != 200 {
				want = `,"invalidNodesIds":[]}`
			}
			if !strings.HasSuffix(got.body, want) {
				t.Errorf("%s", got.body)
			}
		})
	}
}

func TestValidityBodyForThePolicy(t *testing.T) {
	r := start(t, nil)
	r.policy.keep = true
	const body = `{"connectedNodesIds":["Alice","\u0000"],"x":1}`
	r.post(PathValidity, body, nil)
	if want := "invalid [Alice] body=" + body; len(r.policy.asked) != 1 || r.policy.asked[0] != want {
		t.Errorf("%q", r.policy.asked)
	}
}

package plural

import "testing"

func TestOf(t *testing.T) {
	for n, want := range map[int]string{0: "0 Nodes", 1: "1 Node", 2: "2 Nodes"} {
		if got := Of(n, "Node"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

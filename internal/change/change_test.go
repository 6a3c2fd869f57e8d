package change

import (
	"errors"
	"strings"
	"testing"
)

// recorder makes changes that note what becomes of them.
type recorder struct{ said []string }

func (r *recorder) change(name string) Change {
	return New(func() { r.said = append(r.said, "apply "+name) }, func() { r.said = append(r.said, "drop "+name) })
}

func (r *recorder) want(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(r.said, ", "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJoin(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(Change)
		want string
	}{
		{"apply", Change.Apply, "apply a, apply b"},
		{"drop", Change.Drop, "drop b, drop a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r recorder
			var set Set
			set.Add(r.change("a"), nil)
			set.Add(Change{}, nil)
			set.Add(r.change("b"), nil)
			all, err := set.Join()
			if err != nil {
				t.Fatal(err)
			}
			r.want(t, "")
			c.do(all)
			r.want(t, c.want)
		})
	}
}

// TestJoinWithErrors has two parts fail: both errors are returned, and what the others took is given back.
func TestJoinWithErrors(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	var r recorder
	var set Set
	set.Add(r.change("a"), nil)
	set.Add(Change{}, one)
	set.Add(r.change("b"), nil)
	set.Add(Change{}, two)
	all, err := set.Join()
	if !errors.Is(err, one) || !errors.Is(err, two) {
		t.Errorf("error %v", err)
	}
	r.want(t, "drop b, drop a")
	all.Apply()
	all.Drop()
	r.want(t, "drop b, drop a")
	if next, err := set.Join(); err != nil {
		t.Errorf("the emptied set has %v", err)
	} else {
		next.Apply()
	}
	r.want(t, "drop b, drop a")
}

package banset

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func add(t *testing.T, s *Set, r Record) {
	t.Helper()
	read, err := Decode(r.Encode())
	if err != nil || read != r {
		t.Fatalf("%+v is read as %+v, %v", r, read, err)
	}
	s.Add(read, start)
}

func TestLiftNamesItsBan(t *testing.T) {
	here, there := NewSet(), NewSet()
	first := Ban("eve", "spam", start, time.Time{}, "a")
	second := Ban("eve", "spam", start.Add(time.Millisecond), start.Add(time.Hour), "b")
	add(t, here, first)
	add(t, there, second) // at the same time, and neither knows of the other's
	lift := first.Lift(start, "a")
	for _, s := range []*Set{here, there} {
		for _, r := range []Record{lift, second, first, lift} {
			add(t, s, r)
		}
		if got := s.InForce("eve", start); len(got) != 1 || got[0] != second {
			t.Errorf("in force: %+v", got)
		}
		if got := s.InForce("eve", start.Add(time.Hour)); len(got) != 0 {
			t.Errorf("in force when its time is over: %+v", got)
		}
	}
	if here.Digest() != there.Digest() || here.Len() != 2 || here.Lifted() != 1 {
		t.Errorf("%d and %d records", here.Len(), there.Len())
	}
}

func TestTheLongestCounts(t *testing.T) {
	s := NewSet()
	short, long, forever := Ban("n", "", start, start.Add(time.Hour), ""), Ban("n", "", start, start.Add(2*time.Hour), ""), Ban("n", "", start, time.Time{}, "")
	for _, r := range []Record{short, forever, long} {
		add(t, s, r)
	}
	for i, want := range []Record{forever, long, short} {
		if got := s.InForce("n", start); got[i] != want {
			t.Errorf("place %d: %+v", i, got[i])
		}
	}
}

// Sets that hear of the same records come to the same, in whatever order and how often.
func TestConverges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var all []Record
		for i := range 20 {
			until := time.Time{}
			if i%3 == 0 {
				until = start.Add(time.Duration(i) * time.Hour)
			}
			b := Ban(fmt.Sprint("n", random.IntN(4)), "", start.Add(time.Duration(i)), until, "")
			all = append(all, b)
			if random.IntN(2) == 0 {
				all = append(all, b.Lift(start, ""))
			}
		}
		var sets [2]*Set
		for i := range sets {
			sets[i] = NewSet()
			for _, at := range append(random.Perm(len(all)), random.Perm(len(all))...) {
				sets[i].Add(all[at], start)
			}
		}
		if sets[0].Digest() != sets[1].Digest() {
			t.Fatal("the digests differ")
		}
		for n := range 4 {
			x, y := sets[0].InForce(fmt.Sprint("n", n), start), sets[1].InForce(fmt.Sprint("n", n), start)
			if fmt.Sprint(x) != fmt.Sprint(y) {
				t.Fatalf("%v and %v", x, y)
			}
		}
	}
}

func TestForget(t *testing.T) {
	s := NewSet()
	empty := s.Digest()
	timed, forever := Ban("n", "", start, start.Add(time.Minute), ""), Ban("n", "", start, time.Time{}, "")
	add(t, s, timed)
	add(t, s, forever)
	add(t, s, forever.Lift(start, ""))
	if got := s.Forget(start.Add(time.Hour)); len(got) != 0 {
		t.Errorf("forgot %v too early", got)
	}
	if got := s.Forget(start.Add(2 * time.Hour)); len(got) != 1 || got[0] != timed.ID {
		t.Errorf("forgot %v", got)
	}
	if s.Add(timed, start.Add(2*time.Hour)) {
		t.Error("what is over for long was taken in")
	}
	if got := s.Forget(start.Add(LiftedFor + time.Hour)); len(got) != 1 || s.Len() != 0 || s.Lifted() != 0 || s.Digest() != empty {
		t.Errorf("forgot %v, %d are left", got, s.Len())
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON": "x", "no kind": `{"node":"n","since":"2026-01-01T00:00:00Z"}`, "no Node": `{"kind":"ban","since":"2026-01-01T00:00:00Z"}`,
		"an id of another length": `{"kind":"lift","id":"00","node":"n","since":"2026-01-01T00:00:00Z"}`,
		"no time":                 `{"kind":"ban","node":"n"}`,
		"a control character":     `{"kind":"ban","node":"n","reason":"\u0007","since":"2026-01-01T00:00:00Z"}`,
		"a long reason":           `{"kind":"ban","node":"n","reason":"` + strings.Repeat("x", 1025) + `","since":"2026-01-01T00:00:00Z"}`,
	} {
		if r, err := Decode([]byte(text)); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := Decode([]byte(`{"kind":"ban","node":"n","since":"2026-01-01T00:00:00Z","later":1}`)); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Ban("n", "r", start, start.Add(time.Hour), "m").Encode())
	f.Add(Ban("n", "r", start, time.Time{}, "m").Lift(start, "m").Encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Decode(r.Encode())
		if err != nil || again.ID != r.ID || again.Lifts() != r.Lifts() {
			t.Errorf("%+v becomes %+v, %v", r, again, err)
		}
	})
}

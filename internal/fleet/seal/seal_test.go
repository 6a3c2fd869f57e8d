package seal

import (
	"errors"
	"strings"
	"testing"
)

func ring(t testing.TB, secrets ...string) *Ring {
	t.Helper()
	r, err := NewRing(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSealAndOpen(t *testing.T) {
	old, both, fresh := ring(t, "old"), ring(t, "fresh", "old"), ring(t, "fresh")
	sealed := both.Seal("ban", []byte("a text"))
	for name, r := range map[string]*Ring{"who has only the old secret": old, "who has both": both, "who has only the new one": fresh} {
		if got, err := r.Open("ban", sealed); err != nil || string(got) != "a text" {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if _, err := fresh.Open("ban", old.Seal("ban", []byte("a text"))); !errors.Is(err, ErrStranger) {
		t.Errorf("another secret: %v", err)
	}
	if _, err := both.Open("machine", sealed); !errors.Is(err, ErrForged) {
		t.Errorf("another purpose: %v", err)
	}
	for i := range sealed {
		changed := []byte(sealed)
		changed[i] ^= 1
		if got, err := old.Open("ban", string(changed)); err == nil && string(got) != "a text" {
			t.Fatalf("with byte %d changed it reads %q", i, got)
		}
	}
	if strings.Contains(sealed, "fresh") || strings.Contains(sealed, "old") {
		t.Error("a secret stands in what is sealed")
	}
	if both.Prints()[1] != old.Prints()[0] || both.Prints()[0] == old.Prints()[0] {
		t.Errorf("fingerprints %v and %v", both.Prints(), old.Prints())
	}
	x := []byte("x")
	if !Alike(both.Keyed(x), fresh.Keyed(x)) || !Alike(old.Keyed(x), both.Keyed(x)) || Alike(fresh.Keyed(x), old.Keyed(x)) || Alike(old.Keyed(x), old.Keyed([]byte("y"))) {
		t.Error("keyed fingerprints do not follow the secrets")
	}
	if Unsealed(sealed) != "a text" {
		t.Errorf("unsealed %q", Unsealed(sealed))
	}
}

func TestNoSecret(t *testing.T) {
	if _, err := NewRing(nil); err == nil {
		t.Error("a ring of no secret")
	}
}

// Whatever stands in Redis opens only if it was sealed with this secret.
func FuzzOpen(f *testing.F) {
	r := ring(f, "secret")
	f.Add(r.Seal("p", []byte("text")))
	f.Add("a:b,c:d text")
	f.Add(",,,,,,,,,, ")
	f.Fuzz(func(t *testing.T, sealed string) {
		if text, err := r.Open("p", sealed); err == nil && string(text) != "text" {
			t.Errorf("%q opens as %q", sealed, text)
		}
	})
}

func TestBoxAndUnbox(t *testing.T) {
	old, both, fresh := ring(t, "old"), ring(t, "fresh", "old"), ring(t, "fresh")
	boxed := both.Box("ask", []byte("a text"))
	for name, r := range map[string]*Ring{"who has only the old secret": old, "who has both": both, "who has only the new one": fresh} {
		if got, err := r.Unbox("ask", boxed); err != nil || string(got) != "a text" {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if _, err := fresh.Unbox("ask", old.Box("ask", []byte("a text"))); !errors.Is(err, ErrStranger) {
		t.Errorf("another secret: %v", err)
	}
	if _, err := both.Unbox("answer", boxed); !errors.Is(err, ErrForged) {
		t.Errorf("another purpose: %v", err)
	}
	if both.Box("ask", []byte("a text")) == boxed || strings.Contains(boxed, "text") {
		t.Errorf("a box tells what is in it: %s", boxed)
	}
	for i := range boxed {
		changed := []byte(boxed)
		changed[i] ^= 1
		if got, err := old.Unbox("ask", string(changed)); err == nil && string(got) != "a text" {
			t.Fatalf("with byte %d changed it reads %q", i, got)
		}
	}
	// The content of one box is none of another's.
	keys, _, _ := strings.Cut(boxed, " ")
	_, text, _ := strings.Cut(both.Box("ask", []byte("another text")), " ")
	if _, err := both.Unbox("ask", keys+" "+text); !errors.Is(err, ErrForged) {
		t.Errorf("two boxes put together: %v", err)
	}
}

// Whatever comes through Redis opens only if it was boxed with this secret.
func FuzzUnbox(f *testing.F) {
	r := ring(f, "secret")
	f.Add(r.Box("p", []byte("text")))
	f.Add("a:b,c:d text")
	f.Add(r.Prints()[0] + ":AAAA AAAA")
	f.Add(",,,,,,,,,, ")
	f.Fuzz(func(t *testing.T, boxed string) {
		if text, err := r.Unbox("p", boxed); err == nil && string(text) != "text" {
			t.Errorf("%q opens as %q", boxed, text)
		}
	})
}

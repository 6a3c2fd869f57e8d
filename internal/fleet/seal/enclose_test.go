package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestEnclose(t *testing.T) {
	old, both, fresh := ring(t, "old"), ring(t, "fresh", "old"), ring(t, "fresh")
	text := []byte("a key that nobody else may read")
	under := both.Enclose("here", text)
	for name, r := range map[string]*Ring{"who has both": both, "who has only the new one": fresh} {
		if got, err := r.Disclose("here", under); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if got, err := both.Disclose("here", old.Enclose("here", text)); err != nil || !bytes.Equal(got, text) {
		t.Errorf("of before the rotation %q, %v", got, err)
	}
	if _, err := old.Disclose("here", under); !errors.Is(err, ErrStranger) {
		t.Errorf("who has only the old one: %v", err)
	}
	if _, err := both.Disclose("there", under); !errors.Is(err, ErrForged) {
		t.Errorf("in another place: %v", err)
	}
	if under == both.Enclose("here", text) {
		t.Error("the same twice")
	}
	if strings.Contains(under, "nobody") {
		t.Error("it can be read")
	}
	for i := range under {
		changed := []byte(under)
		changed[i] ^= 1
		if _, err := fresh.Disclose("here", string(changed)); err == nil {
			t.Fatalf("with byte %d changed it can be read", i)
		}
	}
	if _, err := fresh.Disclose("here", under[:20]); !errors.Is(err, ErrForged) {
		t.Errorf("cut off: %v", err)
	}
}

// Whatever stands in Redis can be disclosed only if it was enclosed with this secret, for that place.
func FuzzDisclose(f *testing.F) {
	r := ring(f, "secret")
	f.Add("p", r.Enclose("p", []byte("text")))
	f.Add("q", r.Enclose("p", []byte("text")))
	f.Add("p", r.Prints()[0]+":")
	f.Add("p", "a:b")
	f.Fuzz(func(t *testing.T, place, enclosed string) {
		if text, err := r.Disclose(place, enclosed); err == nil && (string(text) != "text" || place != "p") {
			t.Errorf("%q is disclosed as %q in %q", enclosed, text, place)
		}
	})
}

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
		if got, err := r.Unbox("here", under); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if got, err := both.Unbox("here", old.Enclose("here", text)); err != nil || !bytes.Equal(got, text) {
		t.Errorf("of before the rotation %q, %v", got, err)
	}
	if _, err := old.Unbox("here", under); !errors.Is(err, ErrStranger) {
		t.Errorf("who has only the old one: %v", err)
	}
	if _, err := both.Unbox("there", under); !errors.Is(err, ErrForged) {
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
		if _, err := fresh.Unbox("here", string(changed)); err == nil {
			t.Fatalf("with byte %d changed it can be read", i)
		}
	}
	if _, err := fresh.Unbox("here", under[:20]); !errors.Is(err, ErrForged) {
		t.Errorf("cut off: %v", err)
	}
}

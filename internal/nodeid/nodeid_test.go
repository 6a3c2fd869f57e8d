package nodeid

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

func TestValid(t *testing.T) {
	for _, c := range []struct {
		name, id string
		want     error
	}{
		{"plain", "Alice", nil},
		{"colons", "a:b:c", nil},
		{"emoji", "🦊 fox", nil},
		{"longest", strings.Repeat("x", 256), nil},
		{"empty", "", ErrEmpty},
		{"too long", strings.Repeat("x", 257), ErrLong},
		{"not UTF-8", "a\xff", ErrUTF8},
		{"newline", "a\nb", ErrControl},
		{"NUL", "a\x00", ErrControl},
		{"C1 control", "a\u0085", ErrControl},
		{"DEL", "a\x7f", ErrControl},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Valid(c.id); !errors.Is(got, c.want) {
				t.Errorf("Valid = %v, want %v", got, c.want)
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	for id, want := range map[string]string{
		"Alice": "Alice", "a:b c": "a:b c", "Zo\u0065\u0308": "Zo\u00eb", "Zo\u00eb": "Zo\u00eb", "a\u00a0b\u3000c": "a b c", "🦊\u2003fox": "🦊 fox",
		"\u1112\u1161\u11ab": "\ud55c", "\u212b": "\u00c5", "ﬁ": "ﬁ", "Ａ": "Ａ", "\u3164x": "\u3164x",
		strings.Repeat("\u0958", 85): strings.Repeat("\u0958", 85), // would be 510 bytes
	} {
		if got := Canonical(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

// FuzzCanonical compares with OpaqueString where that takes the id.
func FuzzCanonical(f *testing.F) {
	for _, id := range []string{"Alice", "Zoe\u0308", "a\u00a0b", "\u0958", "\u1112\u1161\u11ab", "\u3164", "\u0301", "\u2000\u0301"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if Valid(id) != nil {
			return
		}
		got := Canonical(id)
		if Valid(got) != nil || Canonical(got) != got || !utf8.ValidString(got) {
			t.Errorf("%q: %q is not canonical", id, got)
		}
		if want, err := precis.OpaqueString.String(id); err == nil && got != want && len(want) <= MaxLen {
			t.Errorf("%q: %q, OpaqueString says %q", id, got, want)
		}
		// A client prepares the whole user name.
		if want, err := precis.OpaqueString.String("1700000000:" + id); err == nil && "1700000000:"+got != want && len(want) <= MaxLen {
			t.Errorf("%q: %q, OpaqueString of the user name is %q", id, got, want)
		}
	})
}

// Nobody makes up an id of doctor's without the secret, nor uses one for long.
func TestDoctor(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := Doctor("secret", now)
	if Valid(id) != nil || Canonical(id) != id || !Synthetic(id) || id == Doctor("secret", now) {
		t.Errorf("%q", id)
	}
	for _, good := range []string{id, id + "-1", id + "-20"} {
		if !ByDoctor("secret", good, now.Add(50*time.Minute)) {
			t.Errorf("%q is doctor's", good)
		}
	}
	for _, bad := range []string{"", DoctorPrefix, DoctorPrefix + "1", id + "1", id[:len(id)-1], "x" + id, Doctor("another", now), DoctorPrefix + "--", Dashboard} {
		if ByDoctor("secret", bad, now) {
			t.Errorf("%q is taken for doctor's", bad)
		}
	}
	if ByDoctor("secret", id, now.Add(2*time.Hour)) || ByDoctor("secret", id, now.Add(-2*time.Hour)) {
		t.Error("it is taken at any time")
	}
}

func FuzzByDoctor(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	f.Add(Doctor("secret", now))
	f.Add(DoctorPrefix + "6553f10001020304-")
	f.Fuzz(func(t *testing.T, id string) {
		if ByDoctor("another", id, now) {
			t.Errorf("%q", id)
		}
	})
}

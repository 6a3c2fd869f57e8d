package nodeid

import (
	"errors"
	"strings"
	"testing"
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

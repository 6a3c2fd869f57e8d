package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// hidden is shown in place of a Secret.
const hidden = "[secret]"

// Secret is a text that nothing prints: no verb of fmt, no encoder, no slog handler. [Secret.Reveal] is the one way to
// its text. The zero Secret is not set. It is a value and may be used from any goroutine.
//
// The text is kept behind a pointer: fmt cannot call Format of a Secret in an unexported field, and prints an address
// then.
type Secret struct{ text *string }

// NewSecret makes a Secret. An empty text makes one that is not set.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text, which is empty if the Secret is not set. What is revealed must not be logged.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether there is a text.
func (s Secret) IsSet() bool { return s.text != nil }

// Equal reports whether given is the Secret's text, in a time that depends on neither. A Secret that is not set equals
// nothing, not even the empty text.
func (s Secret) Equal(given string) bool {
	own, other := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(own[:], other[:]) == 1 && s.IsSet()
}

// String shows whether the Secret is set, and nothing else.
func (s Secret) String() string {
	if !s.IsSet() {
		return ""
	}
	return hidden
}

// Format implements fmt.Formatter: every verb prints what String says, %q and %#v in quotes.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		_, _ = io.WriteString(f, `"`+s.String()+`"`)
		return
	}
	_, _ = io.WriteString(f, s.String())
}

// MarshalText implements encoding.TextMarshaler, which the encoders of JSON, TOML and XML ask.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The reasons for which Decode refuses what a Reader would take.
var (
	ErrTwice = errors.New("a field is given twice")
	ErrText  = errors.New("a string is not valid UTF-8")
)

// Decode reads text, which must be one JSON object, into the struct that into points to. Fields that the struct does
// not have are errors, and so are a field that is given twice, at any depth and in any case, a string that
// encoding/json would mend, nesting beyond maxDepth, and anything after the object. No error quotes a value of text.
func Decode(text []byte, maxDepth int, into any) error {
	r := Reader{MaxDepth: maxDepth}
	r.ResetBytes(text)
	if kind, err := r.Kind(); err != nil {
		return err
	} else if kind != '{' {
		return ErrType
	}
	if err := r.check(); err != nil {
		return err
	}
	if err := r.End(); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return plain(decoder.Decode(into))
}

// check reads any one value. It recurses as deep as MaxDepth allows.
func (r *Reader) check() error {
	kind, err := r.Kind()
	if err != nil {
		return err
	}
	switch kind {
	case '{':
		seen := map[string]bool{}
		return r.Object(func(name []byte) error {
			key := fold(name)
			switch {
			case !utf8.Valid(name):
				return ErrText
			case seen[key]:
				return ErrTwice
			}
			seen[key] = true
			return r.check()
		})
	case '[':
		return r.Array(r.check)
	case '"':
		raw, escaped, err := r.RawString()
		whole := utf8.Valid(raw)
		if err == nil && escaped && whole {
			_, whole = AppendUnquoted(nil, raw)
		}
		if err == nil && !whole {
			err = ErrText
		}
		return err
	}
	return r.Skip()
}

// fold makes names equal that encoding/json takes for the same field: those that differ in case alone, by Unicode's
// simple folding.
func fold(name []byte) string {
	return strings.Map(func(char rune) rune {
		least := char
		for next := unicode.SimpleFold(char); next != char; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, string(name))
}

// plain makes an error of encoding/json one for the sender: without Go's types and without what was sent.
func plain(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		kind, _, _ := strings.Cut(wrong.Value, " ") // a number's value follows its kind
		return fmt.Errorf("%w: %s cannot be a %s", ErrType, wrong.Field, kind)
	}
	return err
}

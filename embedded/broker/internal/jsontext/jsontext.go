// Package jsontext reads JSON as JSON.parse does, without building values: it finds where a value ends, walks objects and
// arrays, and turns strings into text and back. Depth costs one bit a level and no stack, so hostile nesting is only long.
package jsontext

import (
	"errors"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// ErrSyntax says that a text is not JSON.
var ErrSyntax = errors.New("not JSON")

// Space returns the first index at or after i that holds no white space.
func Space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// Valid reports whether b is one JSON value with nothing but white space around it.
func Valid(b []byte) bool {
	end, err := Skip(b, Space(b, 0))
	return err == nil && Space(b, end) == len(b)
}

// Skip returns the index after the value that begins at i.
func Skip(b []byte, i int) (int, error) {
	var levels nesting
	for {
		var inside bool
		var err error
		if i, inside, err = begin(b, i, &levels); err != nil {
			return 0, err
		}
		if inside {
			continue
		}
		if i, err = proceed(b, i, &levels); err != nil || levels.depth == 0 {
			return i, err
		}
	}
}

// begin reads a scalar or an empty container, or goes inside one that is not empty: i is then at its first value.
func begin(b []byte, i int, levels *nesting) (_ int, inside bool, err error) {
	if i >= len(b) {
		return 0, false, ErrSyntax
	}
	if b[i] != '{' && b[i] != '[' {
		i, err = scalar(b, i)
		return i, false, err
	}
	object := b[i] == '{'
	i = Space(b, i+1)
	if i < len(b) && b[i] == closing(object) {
		return i + 1, false, nil
	}
	levels.push(object)
	if object {
		i, err = key(b, i)
	}
	return i, true, err
}

// proceed closes what ends with the value that has just ended, and goes on to the next value if something is still open.
func proceed(b []byte, i int, levels *nesting) (int, error) {
	for levels.depth > 0 {
		i = Space(b, i)
		if i >= len(b) {
			return 0, ErrSyntax
		}
		object := levels.top()
		if b[i] == closing(object) {
			levels.depth--
			i++
			continue
		}
		if b[i] != ',' {
			return 0, ErrSyntax
		}
		i = Space(b, i+1)
		if object {
			return key(b, i)
		}
		return i, nil
	}
	return i, nil
}

func closing(object bool) byte {
	if object {
		return '}'
	}
	return ']'
}

// nesting remembers for each open level whether it is an object.
type nesting struct {
	small [4]uint64 // the first 256 levels, without an allocation
	more  []uint64
	depth int
}

func (n *nesting) word(level int) *uint64 {
	if w := level / 64; w < len(n.small) {
		return &n.small[w]
	} else {
		return &n.more[w-len(n.small)]
	}
}

func (n *nesting) push(object bool) {
	if n.depth/64 >= len(n.small)+len(n.more) {
		n.more = append(n.more, 0)
	}
	w, bit := n.word(n.depth), uint64(1)<<(n.depth%64)
	if object {
		*w |= bit
	} else {
		*w &^= bit
	}
	n.depth++
}

func (n *nesting) top() bool {
	level := n.depth - 1
	return *n.word(level)>>(level%64)&1 == 1
}

// key skips a member's name, the colon and the space around it.
func key(b []byte, i int) (int, error) {
	if i >= len(b) || b[i] != '"' {
		return 0, ErrSyntax
	}
	i, err := skipString(b, i)
	if err != nil {
		return 0, err
	}
	i = Space(b, i)
	if i >= len(b) || b[i] != ':' {
		return 0, ErrSyntax
	}
	return Space(b, i+1), nil
}

func scalar(b []byte, i int) (int, error) {
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n':
		return literal(b, i, "null")
	case c == '-' || (c >= '0' && c <= '9'):
		return number(b, i)
	}
	return 0, ErrSyntax
}

func literal(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return 0, ErrSyntax
	}
	return i + len(word), nil
}

func number(b []byte, i int) (int, error) {
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return 0, ErrSyntax
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return 0, ErrSyntax
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0, ErrSyntax
		}
	}
	return i, nil
}

// skipString skips the string whose opening quote is at i.
func skipString(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c < 0x20:
			return 0, ErrSyntax
		case c == '\\':
			i++
			if i >= len(b) {
				return 0, ErrSyntax
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := hex4(b, i+1); !ok {
					return 0, ErrSyntax
				}
				i += 4
			default:
				return 0, ErrSyntax
			}
		}
	}
	return 0, ErrSyntax
}

func hex4(b []byte, i int) (rune, bool) {
	if len(b)-i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// Object calls member with the name and the raw value of each member of the object that b is, in their order, doubled ones
// too. It fails, perhaps after some calls, if b is not one whole valid object. What it passes must not be kept.
func Object(b []byte, member func(name, value []byte)) error {
	i := Space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return ErrSyntax
	}
	i = Space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return atEnd(b, i+1)
	}
	var scratch []byte
	for {
		nameEnd, err := skipName(b, i)
		if err != nil {
			return err
		}
		name := b[i+1 : nameEnd-1]
		if escaped(name) {
			scratch = AppendText(scratch[:0], b[i:nameEnd])
			name = scratch
		}
		from, err := key(b, i)
		if err != nil {
			return err
		}
		end, err := Skip(b, from)
		if err != nil {
			return err
		}
		member(name, b[from:end])
		i = Space(b, end)
		switch {
		case i < len(b) && b[i] == '}':
			return atEnd(b, i+1)
		case i < len(b) && b[i] == ',':
			i = Space(b, i+1)
		default:
			return ErrSyntax
		}
	}
}

func skipName(b []byte, i int) (int, error) {
	if i >= len(b) || b[i] != '"' {
		return 0, ErrSyntax
	}
	return skipString(b, i)
}

// Array calls item with the raw text of each value of the array that b is. It fails, perhaps after some calls, if b is not
// one whole valid array.
func Array(b []byte, item func(value []byte)) error {
	i := Space(b, 0)
	if i >= len(b) || b[i] != '[' {
		return ErrSyntax
	}
	i = Space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return atEnd(b, i+1)
	}
	for {
		end, err := Skip(b, i)
		if err != nil {
			return err
		}
		item(b[i:end])
		i = Space(b, end)
		switch {
		case i < len(b) && b[i] == ']':
			return atEnd(b, i+1)
		case i < len(b) && b[i] == ',':
			i = Space(b, i+1)
		default:
			return ErrSyntax
		}
	}
}

func atEnd(b []byte, i int) error {
	if Space(b, i) != len(b) {
		return ErrSyntax
	}
	return nil
}

func escaped(b []byte) bool {
	for _, c := range b {
		if c == '\\' {
			return true
		}
	}
	return false
}

// AppendText appends what the string value raw, quotes included, stands for. Half a surrogate pair becomes U+FFFD. raw must
// have been found valid by Skip.
func AppendText(dst, raw []byte) []byte {
	dst, _ = strictjson.AppendUnquoted(dst, raw[1:len(raw)-1])
	return dst
}

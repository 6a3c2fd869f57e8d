// Package strictjson reads JSON that strangers had a hand in: RFC 8259 to the letter, one pass, nesting bounded, in
// constant memory from a stream or without a copy from a slice. Unlike encoding/json it keeps field names exact and
// leaves it to the caller to see duplicates, and it can give a string as it was written.
package strictjson

import (
	"errors"
	"io"
)

// The reasons why a text is refused. An error of the source is returned as it is.
var (
	ErrSyntax = errors.New("malformed JSON")
	ErrDeep   = errors.New("JSON nested too deeply")
	ErrType   = errors.New("wrong JSON type")
	ErrLong   = errors.New("a JSON string is too long")
)

// bufferSize is what a stream is read in. Longer strings are gathered in a buffer that grows to their length.
const bufferSize = 8 << 10

// Reader reads one JSON text. The zero value is ready for Reset or ResetBytes; it may be reused, by one goroutine at a
// time. After an error it must be reset.
type Reader struct {
	MaxDepth  int // arrays and objects within each other, default 64; set before Reset
	MaxString int // bytes of a string as it is written, beyond which a stream's is not gathered; 0: no limit

	src     io.Reader // nil: buf is all there is
	err     error     // what src ended with
	own     []byte    // the buffer for streams
	buf     []byte    // unread bytes are buf[pos:]
	pos     int
	base    int // offset of buf[0] in the text
	depth   int
	scratch []byte // a string that crossed the end of the buffer
	stack   []byte // open brackets of Skip
}

// Reset starts on a stream.
func (r *Reader) Reset(src io.Reader) {
	if r.own == nil {
		r.own = make([]byte, bufferSize)
	}
	r.reset(src, r.own[:0])
}

// ResetBytes starts on a text in memory, which must not change while it is read. Strings that are returned point into
// it.
func (r *Reader) ResetBytes(text []byte) { r.reset(nil, text) }

func (r *Reader) reset(src io.Reader, buf []byte) {
	r.src, r.err, r.buf, r.pos, r.base, r.depth = src, nil, buf, 0, 0, 0
	if r.MaxDepth == 0 {
		r.MaxDepth = 64
	}
	if cap(r.scratch) > 64<<10 || cap(r.stack) > 64<<10 { // one huge text must not be kept for ever
		r.scratch, r.stack = nil, nil
	}
}

// Offset is how many bytes of the text have been read.
func (r *Reader) Offset() int { return r.base + r.pos }

// fill reads more. It returns false if there is no more; r.err says why.
func (r *Reader) fill() bool {
	if r.src == nil || r.err != nil {
		if r.err == nil {
			r.err = io.EOF
		}
		return false
	}
	r.base += len(r.buf)
	r.pos, r.buf = 0, r.own[:0]
	for range 100 { // a source that gives nothing for ever is broken
		n, err := r.src.Read(r.own)
		r.err = err
		if n > 0 {
			r.buf = r.own[:n]
			return true
		}
		if err != nil {
			return false
		}
	}
	r.err = io.ErrNoProgress
	return false
}

// short is the error for a text that ends too early.
func (r *Reader) short() error {
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return r.err
	}
	return ErrSyntax
}

// peek is the next byte that is not white space.
func (r *Reader) peek() (byte, error) {
	for {
		for r.pos < len(r.buf) {
			switch c := r.buf[r.pos]; c {
			case ' ', '\t', '\n', '\r':
				r.pos++
			default:
				return c, nil
			}
		}
		if !r.fill() {
			return 0, r.short()
		}
	}
}

// next is the next byte, white space or not.
func (r *Reader) next() (byte, error) {
	if r.pos == len(r.buf) && !r.fill() {
		return 0, r.short()
	}
	r.pos++
	return r.buf[r.pos-1], nil
}

// Kind looks at the next value without reading it: '{', '[', '"', 't', 'f', 'n', or '0' for a number.
func (r *Reader) Kind() (byte, error) {
	c, err := r.peek()
	switch {
	case err != nil:
		return 0, err
	case c == '-' || c >= '0' && c <= '9':
		return '0', nil
	case c == '{' || c == '[' || c == '"' || c == 't' || c == 'f' || c == 'n':
		return c, nil
	}
	return 0, ErrSyntax
}

// expect reads the opening byte of the kind of value that the caller wants.
func (r *Reader) expect(kind byte) error {
	got, err := r.Kind()
	switch {
	case err != nil:
		return err
	case got != kind:
		return ErrType
	}
	r.pos++
	return nil
}

func (r *Reader) enter() error {
	if r.depth++; r.depth > r.MaxDepth {
		return ErrDeep
	}
	return nil
}

// Object reads an object. field is called with each name, escapes undone, which is valid until the next read; it must
// read or Skip the value. ErrType: the next value is no object.
func (r *Reader) Object(field func(name []byte) error) error {
	if err := r.expect('{'); err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := r.more('}', first)
		if err != nil || !more {
			return err
		}
		name, err := r.name()
		if err != nil {
			return err
		}
		if err := field(name); err != nil {
			return err
		}
	}
}

// name reads a field's name and the colon behind it.
func (r *Reader) name() ([]byte, error) {
	if c, err := r.peek(); err != nil {
		return nil, err
	} else if c != '"' {
		return nil, ErrSyntax
	}
	raw, escaped, err := r.RawString()
	if err != nil {
		return nil, err
	}
	if escaped {
		raw, _ = AppendUnquoted(nil, raw)
	}
	if r.pos < len(r.buf) && r.buf[r.pos] == ':' {
		r.pos++
		return raw, nil
	}
	// Looking for the colon may read on, over what raw points at.
	kept := append([]byte(nil), raw...)
	if c, err := r.peek(); err != nil {
		return nil, err
	} else if c != ':' {
		return nil, ErrSyntax
	}
	r.pos++
	return kept, nil
}

// Array reads an array. item is called before each of its values and must read or Skip it. ErrType: the next value is
// no array.
func (r *Reader) Array(item func() error) error {
	if err := r.expect('['); err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := r.more(']', first)
		if err != nil || !more {
			return err
		}
		if err := item(); err != nil {
			return err
		}
	}
}

// more reads the comma before a further element, or the closing bracket.
func (r *Reader) more(end byte, first bool) (bool, error) {
	c, err := r.peek()
	switch {
	case err != nil:
		return false, err
	case c == end:
		r.pos++
		r.depth--
		return false, nil
	case first:
		return true, nil
	case c == ',':
		r.pos++
		return true, nil
	}
	return false, ErrSyntax
}

// Bool reads true or false.
func (r *Reader) Bool() (bool, error) {
	switch kind, err := r.Kind(); {
	case err != nil:
		return false, err
	case kind == 't':
		return true, r.literal("true")
	case kind == 'f':
		return false, r.literal("false")
	}
	return false, ErrType
}

// End returns nil if only white space follows.
func (r *Reader) End() error {
	if _, err := r.peek(); r.err != nil && !errors.Is(r.err, io.EOF) {
		return r.err
	} else if err == nil {
		return ErrSyntax
	}
	return nil
}

func (r *Reader) literal(word string) error {
	for i := range len(word) {
		if c, err := r.next(); err != nil {
			return err
		} else if c != word[i] {
			return ErrSyntax
		}
	}
	return nil
}

package strictjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// RawString reads a string and returns what stands between its quotes, escapes checked but not undone, which is valid
// until the next read. escaped: AppendUnquoted has something to do. Bytes that are no UTF-8 are left as they are.
// ErrType: the next value is no string.
func (r *Reader) RawString() (raw []byte, escaped bool, err error) {
	if err := r.expect('"'); err != nil {
		return nil, false, err
	}
	r.scratch = r.scratch[:0]
	start := r.pos
	for {
		for r.pos < len(r.buf) {
			switch c := r.buf[r.pos]; {
			case c == '"':
				raw = r.buf[start:r.pos]
				if len(r.scratch) > 0 {
					r.scratch = append(r.scratch, raw...)
					raw = r.scratch
				}
				r.pos++
				return raw, escaped, nil
			case c == '\\':
				escaped = true
				if start, err = r.escape(start); err != nil {
					return nil, false, err
				}
			case c < 0x20:
				return nil, false, ErrSyntax
			default:
				r.pos++
			}
		}
		if err = r.gather(start); err != nil {
			return nil, false, err
		}
		start = 0
	}
}

// gather keeps the part of a string that begins at start, and reads on.
func (r *Reader) gather(start int) error {
	r.scratch = append(r.scratch, r.buf[start:]...)
	if r.MaxString > 0 && len(r.scratch) > r.MaxString {
		return ErrLong
	}
	if !r.fill() {
		return r.short()
	}
	return nil
}

// escape checks one escape sequence. start is the place in the buffer at which the rest of the string begins; it is
// returned anew, since reading on moves it to scratch.
func (r *Reader) escape(start int) (int, error) {
	next := func() (byte, error) {
		if r.pos == len(r.buf) {
			if err := r.gather(start); err != nil {
				return 0, err
			}
			start = 0
		}
		r.pos++
		return r.buf[r.pos-1], nil
	}
	r.pos++ // the backslash
	c, err := next()
	if err != nil {
		return start, err
	}
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return start, nil
	case 'u':
		for range 4 {
			if c, err = next(); err != nil {
				return start, err
			}
			if hex(c) < 0 {
				return start, ErrSyntax
			}
		}
		return start, nil
	}
	return start, ErrSyntax
}

func hex(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// AppendUnquoted appends raw, as RawString gave it, with its escapes undone. ok is false if it held half of a
// surrogate pair, which stands for no character and became U+FFFD.
func AppendUnquoted(dst, raw []byte) (_ []byte, ok bool) {
	ok = true
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...), ok
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			char := unit(raw)
			raw = raw[4:]
			if utf16.IsSurrogate(char) {
				second := rune(-1)
				if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
					second = unit(raw[2:])
				}
				if char = utf16.DecodeRune(char, second); char == utf8.RuneError {
					ok = false
				} else {
					raw = raw[6:]
				}
			}
			dst = utf8.AppendRune(dst, char)
		default: // quote, backslash, slash
			dst = append(dst, c)
		}
	}
}

func unit(digits []byte) rune {
	return hex(digits[0])<<12 | hex(digits[1])<<8 | hex(digits[2])<<4 | hex(digits[3])
}

// AppendString appends s as a JSON string. Control characters, and what ends a line in JavaScript, are escaped; bytes
// that are no UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			if c == '"' || c == '\\' {
				dst = append(dst, '\\', c)
			} else {
				dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			}
			i++
			start = i
			continue
		}
		char, size := utf8.DecodeRuneInString(s[i:])
		if char == utf8.RuneError && size == 1 || char == '\u2028' || char == '\u2029' {
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', digits[char>>12&15], digits[char>>8&15], digits[char>>4&15], digits[char&15])
			start = i + size
		}
		i += size
	}
	return append(append(dst, s[start:]...), '"')
}

// Skip reads any one value and forgets it, without recursion.
func (r *Reader) Skip() error {
	r.stack = r.stack[:0]
	for {
		kind, err := r.Kind()
		if err != nil {
			return err
		}
		switch kind {
		case '{', '[':
			r.pos++
			if err := r.enter(); err != nil {
				return err
			}
			r.stack = append(r.stack, kind+2) // ']' and '}' are two after their partners
			if more, err := r.skipTo(true); err != nil {
				return err
			} else if more {
				continue
			}
		case '"':
			_, _, err = r.RawString()
		case 't':
			err = r.literal("true")
		case 'f':
			err = r.literal("false")
		case 'n':
			err = r.literal("null")
		default:
			err = r.number()
		}
		if err != nil {
			return err
		}
		if more, err := r.skipTo(false); err != nil || !more {
			return err
		}
	}
}

// skipTo goes to the next value inside the brackets that Skip has open, closing those that end. False: none is open.
func (r *Reader) skipTo(first bool) (bool, error) {
	for len(r.stack) > 0 {
		end := r.stack[len(r.stack)-1]
		more, err := r.more(end, first)
		if err != nil {
			return false, err
		}
		if more {
			if end == '}' {
				_, err = r.name()
			}
			return true, err
		}
		r.stack = r.stack[:len(r.stack)-1]
		first = false
	}
	return false, nil
}

// number reads a number. What follows it is for the caller to judge.
func (r *Reader) number() error {
	c, err := r.next()
	if err == nil && c == '-' {
		c, err = r.next()
	}
	switch {
	case err != nil:
		return err
	case c < '0' || c > '9':
		return ErrSyntax
	case c != '0':
		r.digits()
	}
	if r.at('.', '.') && r.digits() == 0 {
		return r.short()
	}
	if r.at('e', 'E') {
		_ = r.at('+', '-')
		if r.digits() == 0 {
			return r.short()
		}
	}
	return nil
}

// digits reads digits and counts them.
func (r *Reader) digits() (n int) {
	for (r.pos < len(r.buf) || r.fill()) && r.buf[r.pos] >= '0' && r.buf[r.pos] <= '9' {
		r.pos++
		n++
	}
	return n
}

// at reads one byte if it is a or b.
func (r *Reader) at(a, b byte) bool {
	if (r.pos < len(r.buf) || r.fill()) && (r.buf[r.pos] == a || r.buf[r.pos] == b) {
		r.pos++
		return true
	}
	return false
}

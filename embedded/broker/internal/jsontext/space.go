package jsontext

import "unicode/utf8"

// SpaceChar reports whether r is white space or a line end in ECMAScript (WhiteSpace, LineTerminator).
func SpaceChar(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return r >= 0x2000 && r <= 0x200a
}

// spaceAt is the length of the white space character that b begins with, 0 if it begins with another.
func spaceAt(b []byte) int {
	if r, n := utf8.DecodeRune(b); SpaceChar(r) {
		return n
	}
	return 0
}

func spaceBefore(b []byte) int {
	if r, n := utf8.DecodeLastRune(b); SpaceChar(r) {
		return n
	}
	return 0
}

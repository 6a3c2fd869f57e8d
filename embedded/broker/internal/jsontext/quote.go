package jsontext

// Quoted is text of a string: both kinds.
type Quoted interface{ ~string | ~[]byte }

// AppendQuoted appends s, which must be UTF-8, as JSON.stringify writes it.
func AppendQuoted[T Quoted](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// Trim removes what String.prototype.trim removes: white space and line ends of ECMAScript at both ends.
func Trim(b []byte) []byte {
	for len(b) > 0 {
		n := spaceAt(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	for len(b) > 0 {
		n := spaceBefore(b)
		if n == 0 {
			break
		}
		b = b[:len(b)-n]
	}
	return b
}

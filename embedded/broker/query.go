package broker

import (
	"strings"
	"unicode/utf8"
)

// maxParameters is how many of a query Node.js reads.
const maxParameters = 1000

// query is what the Broker reads of a connection's query: the values of each name, in their order.
type query struct {
	eio, transport, sid        []string
	id, version, runtime, data []string
}

// parseQuery reads raw as the querystring module of Node.js does, which the original Broker and all Nodes are used to: a
// plus is a space, a broken percent sequence stays as it is, bad UTF-8 becomes U+FFFD, a semicolon is a plain character,
// and a byte beyond ASCII is a character of Latin-1, as Node.js reads URLs.
func parseQuery(raw string) query {
	raw, _, _ = strings.Cut(raw, "#")
	var q query
	for range maxParameters {
		pair, rest, more := strings.Cut(raw, "&")
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			if list := q.values(decode(name)); list != nil {
				*list = append(*list, decode(value))
			}
		}
		if !more {
			break
		}
		raw = rest
	}
	return q
}

func (q *query) values(name string) *[]string {
	switch name {
	case "EIO":
		return &q.eio
	case "transport":
		return &q.transport
	case "sid":
		return &q.sid
	case "id":
		return &q.id
	case "version":
		return &q.version
	case "runtime":
		return &q.runtime
	case "data":
		return &q.data
	}
	return nil
}

// one is the value of a parameter that is there exactly once.
func one(values []string) (string, bool) {
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

// decode is decodeURIComponent where that succeeds, and otherwise what Node.js falls back to.
func decode(s string) string {
	s = strings.ReplaceAll(s, "+", " ")
	if !strings.Contains(s, "%") {
		return latin1(s)
	}
	b := make([]byte, 0, len(s))
	whole := true // no sequence is broken
	ascii := true // but for sequences
	sequences := false
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if high, low := unhex(s[i+1]), unhex(s[i+2]); high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 2
				sequences = true
				continue
			}
		}
		whole = whole && s[i] != '%'
		ascii = ascii && s[i] < utf8.RuneSelf
		b = append(b, s[i])
	}
	switch {
	case !sequences:
		return latin1(s)
	case ascii && utf8.Valid(b):
		return string(b)
	case whole && !ascii:
		return mixed(s, b)
	}
	return toUTF8(b)
}

// mixed decodes text that has both sequences and bytes beyond ASCII: the former are UTF-8 and the latter Latin-1, unless a
// sequence is bad, and then all is UTF-8.
func mixed(s string, fallback []byte) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '%' {
			out.WriteRune(rune(s[i]))
			i++
			continue
		}
		var run []byte
		for ; i+2 < len(s) && s[i] == '%'; i += 3 {
			run = append(run, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
		}
		if !utf8.Valid(run) {
			return toUTF8(fallback)
		}
		out.Write(run)
	}
	return out.String()
}

func latin1(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			var out strings.Builder
			for i := range len(s) {
				out.WriteRune(rune(s[i]))
			}
			return out.String()
		}
	}
	return s
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// toUTF8 puts one U+FFFD in place of each longest piece of b that begins a character and does not end it, as the WHATWG's
// decoder does.
func toUTF8(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			out.Write(b[:n])
			b = b[n:]
			continue
		}
		out.WriteRune(utf8.RuneError)
		b = b[subpart(b):]
	}
	return out.String()
}

// subpart is the length of the maximal subpart of an ill-formed sequence that b begins with (Unicode 3.9, table 3-7).
func subpart(b []byte) int {
	low, high, want := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		want = 2
	case c >= 0xe0 && c <= 0xef:
		want = 3
		switch c {
		case 0xe0:
			low = 0xa0
		case 0xed:
			high = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		want = 4
		switch c {
		case 0xf0:
			low = 0x90
		case 0xf4:
			high = 0x8f
		}
	}
	n := 1
	for n < want && n < len(b) && b[n] >= low && b[n] <= high {
		low, high = 0x80, 0xbf
		n++
	}
	return n
}

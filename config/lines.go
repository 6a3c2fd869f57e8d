package config

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// findLines returns the line of every key, table and entry of a list, by paths such as "turn.limits", "turn.listen[1]"
// or "hooks.authorize.rules[0].from". text must be TOML that the library has taken; it tells the values only. What is
// not understood here has no line.
func findLines(text string) map[string]int {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // as the library does
		if rest, ok := strings.CutPrefix(text, mark); ok {
			text = rest
			break
		}
	}
	s := &scanner{text: text, line: 1, lines: map[string]int{}, tables: map[string]int{}}
	for s.skip(); s.text != "" && !s.lost; s.skip() {
		if s.take("[[") {
			s.table = s.header(true)
			s.lost = s.lost || !s.take("]]")
		} else if s.take("[") {
			s.table = s.header(false)
			s.lost = s.lost || !s.take("]")
		} else {
			s.pair(s.table)
		}
	}
	return s.lines
}

type scanner struct {
	text   string // what is left
	line   int
	table  string         // path of the table that keys belong to
	lines  map[string]int // what is found
	tables map[string]int // arrays of tables: how many of each there are
	lost   bool           // not understood
}

func (s *scanner) advance(n int) {
	s.line += strings.Count(s.text[:n], "\n")
	s.text = s.text[n:]
}

func (s *scanner) take(what string) bool {
	if !strings.HasPrefix(s.text, what) {
		return false
	}
	s.advance(len(what))
	return true
}

// skip skips white space, line ends and comments.
func (s *scanner) skip() {
	for s.text != "" {
		switch s.text[0] {
		case ' ', '\t', '\r', '\n':
			s.advance(1)
		case '#':
			s.advance(lineLen(s.text))
		default:
			return
		}
	}
}

func (s *scanner) found(path string) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = s.line
	}
}

// part reads one part of a dotted key, and gives it as toml.Key writes it.
func (s *scanner) part() string {
	s.skip()
	n := 0
	if s.text != "" && (s.text[0] == '"' || s.text[0] == '\'') {
		n = stringLen(s.text)
	} else {
		for n < len(s.text) && !strings.ContainsRune(".=]# \t\r\n", rune(s.text[n])) {
			n++
		}
	}
	raw := s.text[:n]
	s.lost = s.lost || n == 0
	s.advance(n)
	s.skip()
	if raw == "" || raw[0] != '"' && raw[0] != '\'' {
		return raw
	}
	var key map[string]any
	if err := decodeTOML(raw+" = 0", &key); err != nil {
		s.lost = true
	}
	for name := range key {
		raw = toml.Key{name}.String()
	}
	return raw
}

// header reads the name of a table. A part of it that is an array of tables stands for its last one.
func (s *scanner) header(array bool) string {
	path := ""
	for !s.lost {
		path = below(path, s.part())
		last := !s.take(".")
		if last && array {
			s.tables[path]++
		}
		s.found(path)
		if n := s.tables[path]; n > 0 {
			path += "[" + strconv.Itoa(n-1) + "]"
			s.found(path)
		}
		if last {
			break
		}
	}
	return path
}

// pair reads a key and its value.
func (s *scanner) pair(table string) {
	path := table
	for !s.lost {
		path = below(path, s.part())
		s.found(path)
		if !s.take(".") {
			break
		}
	}
	if s.lost = s.lost || !s.take("="); !s.lost {
		s.value(path)
	}
}

func (s *scanner) value(path string) {
	s.skip()
	switch {
	case s.text == "":
		s.lost = true
	case s.text[0] == '"' || s.text[0] == '\'':
		s.advance(stringLen(s.text))
	case s.take("["):
		for i := 0; s.more("]"); i++ {
			entry := path + "[" + strconv.Itoa(i) + "]"
			s.found(entry)
			s.value(entry)
		}
	case s.take("{"):
		for s.more("}") {
			s.pair(path)
		}
	default:
		n := strings.IndexAny(s.text, ",]}#\n")
		if n < 0 {
			n = len(s.text)
		}
		s.lost = n == 0
		s.advance(n)
	}
}

// more reports whether another entry follows, and takes the comma before it, or the end.
func (s *scanner) more(end string) bool {
	if s.skip(); s.take(",") {
		s.skip()
	}
	if s.take(end) || s.text == "" {
		return false
	}
	return !s.lost
}

func below(path, part string) string {
	if path == "" {
		return part
	}
	return path + "." + part
}

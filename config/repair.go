package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// Bounds of how many mistakes in the TOML itself are named in one go: each costs another reading.
const (
	maxRepairs   = 20
	maxRepairing = 1 << 20 // bytes to read again, but for the first mistake
)

var (
	keyAndSign = regexp.MustCompile(`^[ \t]*(?:[A-Za-z0-9_.-]|"[^"\n]*"|'[^'\n]*'|[ \t])+=`)
	yamlLine   = regexp.MustCompile(`^(?:---|%YAML|[ \t]*-[ \t]|[ \t]*[A-Za-z_"'][^=\n]*:(?:[ \t]|$))`)
)

// decode reads the text of the file. A statement that is no TOML is noted as a mistake and taken out, so that what is
// wrong elsewhere is found too. repaired is the text that was read: in the lines of l.broken the value is 0. whole is
// false if the rest cannot be read either.
func (l *loader) decode(text string) (doc map[string]any, repaired string, whole bool) {
	last := &Error{}
	for n := range 1 + min(maxRepairs, max(1, maxRepairing/(1+len(text)))) {
		doc = nil
		err := decodeTOML(text, &doc)
		if err == nil {
			return doc, text, true
		}
		if n == 0 {
			if what := foreign(text); what != nil {
				l.mistakes = append(l.mistakes, &Error{Source: l.file, Line: 1, Err: what})
				return nil, "", false
			}
		}
		var at toml.ParseError
		isParse := errors.As(err, &at)
		end := isParse && at.Position.Start >= len(strings.TrimRight(text, " \t\r\n"))
		// After a statement was taken out in its middle, the text may end too early: that is no other mistake.
		if said := syntaxError(l.file, err); n == 0 || !end && (said.Line != last.Line || said.Column != last.Column) {
			l.mistakes = append(l.mistakes, said)
			last = said
		}
		if !isParse || end {
			return nil, "", false
		}
		text = l.takeOut(text, at)
	}
	return nil, "", false
}

// takeOut returns text with as many lines, in which the statement with the mistake has the value 0. If that was tried,
// or the mistake is not in the value, nothing of the statement is left.
func (l *loader) takeOut(text string, at toml.ParseError) string {
	lines := strings.SplitAfter(text, "\n")
	starts := func(i int) bool { return heads(lines[i]) || assigns(lines[i]) != "" }
	wrong := strings.Count(text[:min(max(0, at.Position.Start), len(text))], "\n") // the library's is below 0 sometimes
	begin, end := wrong, wrong+1
	for i := wrong - 1; i >= 0; i-- {
		if !starts(i) {
			continue
		}
		if open(strings.Join(lines[i:wrong], "")) {
			begin = i
		}
		break
	}
	if begin < wrong && starts(wrong) {
		end = wrong // the mistake is that the one before does not end
	}
	for isTable := heads(lines[begin]); end < len(lines) && !heads(lines[end]) && (isTable || assigns(lines[end]) == ""); {
		end++
	}
	first := ""
	if key := assigns(lines[begin]); key != "" && !l.broken[begin+1] && !strings.HasPrefix(at.Message, "Key ") {
		first = key + " 0"
		l.broken[begin+1] = true
	}
	return strings.Join(lines[:begin], "") + first + strings.Repeat("\n", end-begin) + strings.Join(lines[end:], "")
}

// assigns returns the key that a line sets, with the "=" behind it, or nothing.
func assigns(line string) string {
	if strings.IndexByte(line, '=') < 0 {
		return ""
	}
	return keyAndSign.FindString(line)
}

// heads reports whether a line begins a table.
func heads(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " \t"), "[") }

// open reports whether a list or an inline table that begins in text does not end in it.
func open(text string) bool {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"', '\'':
			i += stringLen(text[i:]) - 1
		case '#':
			i += lineLen(text[i:]) - 1
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
	}
	return depth > 0
}

// foreign returns an error for a text that was never meant to be TOML.
func foreign(text string) error {
	const begin = "; `crolang-aio config init` writes one to begin with"
	trimmed := strings.TrimSpace(strings.TrimPrefix(text, "\xef\xbb\xbf"))
	switch {
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"):
		return errors.New("the file is UTF-16, and must be UTF-8: save it so")
	case strings.ContainsRune(text, 0) || !utf8.ValidString(text) && binary(text):
		return errors.New("the file is no text: is it the right one? It must be TOML" + begin)
	case strings.HasPrefix(trimmed, "{"), strings.HasPrefix(trimmed, "[") && json.Valid([]byte(trimmed)):
		return errors.New("the file is JSON, and must be TOML" + begin)
	}
	yaml := false
	for line := range strings.Lines(trimmed) {
		switch line = strings.TrimRight(line, "\r\n"); {
		case strings.TrimSpace(line) == "", strings.HasPrefix(strings.TrimSpace(line), "#"):
		case yamlLine.MatchString(line):
			yaml = true
		case assigns(line) != "", heads(line):
			return nil
		}
	}
	if yaml {
		return errors.New("the file is YAML, and must be TOML" + begin)
	}
	return nil
}

// binary reports whether a text has control characters: one that is only in another encoding has none.
func binary(text string) bool {
	return bytes.ContainsFunc([]byte(text), func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' })
}

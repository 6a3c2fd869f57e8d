package config

import (
	"errors"
	"strings"

	"github.com/BurntSushi/toml"
)

const (
	maxFile    = 4 << 20 // bytes of a configuration file
	maxNesting = 32      // of lists, tables and dots within each other
)

// nestingError is what checkNesting refuses.
type nestingError struct{ line int }

func (*nestingError) Error() string { return "lists, tables or dotted keys are nested too deep" }

// checkNesting refuses what would cost the TOML library unbounded stack, memory and time. It reads strings and comments
// as TOML does, up to the first mistake, at which the library stops too.
func checkNesting(text string) *nestingError {
	depth, dots := 0, 0
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '"', '\'':
			i += stringLen(text[i:])
			continue
		case '#':
			i += lineLen(text[i:])
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '.':
			dots++
		case '\n', ',', '=':
			dots = 0
		}
		if depth > maxNesting || dots > maxNesting {
			return &nestingError{line: 1 + strings.Count(text[:i], "\n")}
		}
		i++
	}
	return nil
}

// lineLen is the length of the first line, without its end.
func lineLen(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i
	}
	return len(text)
}

// stringLen is the length of the TOML string that text begins with, quotes included, or of all of text if the string
// does not end.
func stringLen(text string) int {
	quote := text[:1]
	if strings.HasPrefix(text, quote+quote+quote) {
		quote = text[:3]
	}
	for i := len(quote); i < len(text); {
		switch {
		case quote[0] == '"' && text[i] == '\\':
			i += 2
		case len(quote) == 1 && text[i] == '\n':
			return i
		case strings.HasPrefix(text[i:], quote):
			i += len(quote)
			for n := 0; len(quote) == 3 && n < 2 && i < len(text) && text[i] == quote[0]; n++ {
				i++ // up to two quotes more belong to what is quoted
			}
			return i
		default:
			i++
		}
	}
	return len(text)
}

// syntaxMessages replace what the library says about values: it quotes them, and one may be a secret that lacks its
// quotes.
var syntaxMessages = []struct{ has, say string }{
	{"expected a top-level item to end", "nothing can stand behind a value or a [table] in its line; a text, a time or a size needs quotes"},
	{"strings cannot contain newlines", "the text does not end in its line: it lacks the quote at its end"},
	{"expected value but found", "expected a value: a text needs quotes"},
	{"nteger", "not a number: a text needs quotes"},
	{"float", "not a number: a text needs quotes"},
	{"cannot use sign", "not a number: a text needs quotes"},
	{"not a binary", "not a number: a text needs quotes"},
	{"not an octal", "not a number: a text needs quotes"},
	{"not a hexadecimal", "not a number: a text needs quotes"},
	{"expected a digit", "not a number: a text needs quotes"},
	{"out of range", "the number is out of range: a text needs quotes"},
	{"datetime", "not a date: a text needs quotes"},
	{"hexadecimal digits", `\x, \u and \U in a text need 2, 4 and 8 hexadecimal digits: write \\ for a backslash`},
	{"escape", `a backslash in a text must be written \\, or the text be put in '…'`},
	{"Escaped", `the text has an escaped character that is not valid Unicode`},
}

// harmless are the beginnings of messages that quote at most one character, or the name of a key.
var harmless = []string{"expected ", "unexpected ", "Key '", "TOML files ", "files cannot ", "invalid UTF-8", "strings cannot ", "newlines not "}

// syntaxError makes an Error of a mistake in the TOML itself. It does not show any value.
func syntaxError(file string, err error) *Error {
	out := &Error{Source: file, Err: errors.New("not TOML")}
	var nesting *nestingError
	var parse toml.ParseError
	switch {
	case errors.As(err, &nesting):
		out.Line, out.Err = nesting.line, nesting
		return out
	case !errors.As(err, &parse):
		return out
	}
	if out.Line = max(1, parse.Position.Line); !strings.HasPrefix(parse.Message, "Key ") { // there it is the end of the value
		out.Column = parse.Position.Col
	}
	for _, m := range syntaxMessages {
		if strings.Contains(parse.Message, m.has) {
			out.Err = errors.New(m.say)
			return out
		}
	}
	for _, beginning := range harmless {
		if strings.HasPrefix(parse.Message, beginning) {
			message := strings.TrimRight(parse.Message, ".")
			if !strings.HasPrefix(message, "TOML") {
				message = strings.ToLower(message[:1]) + message[1:]
			}
			out.Err = errors.New(message)
			break
		}
	}
	return out
}

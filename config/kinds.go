package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// fault is one thing wrong with a value.
type fault struct {
	at  string // where below the key, to find its line: "", "[1]", "[1].from", ".group[0]"
	sub string // what is added to the key's name: "" or ".group"
	err error
}

// parser reads a TOML value: string, int64, float64, bool, time.Time, []any or map[string]any; or, from a variable, an
// unreadable.
type parser[T any] func(v any) (T, []fault)

// unreadable stands for the text of a variable that is no value of the wanted kind.
type unreadable struct{}

// kind is a type of value.
type kind[T any] struct {
	name   string // for people
	parse  parser[T]
	env    func(text string) any // a variable's text as a TOML value
	file   func(text string) any // that of a file which a variable names; nil unless secret
	values []string              // of an enumeration
	secret bool
	partly bool // of a wrong value, what is right is stored all the same, to find what else is wrong; the rest is zero
}

func one[T any](f func(v any) (T, error)) parser[T] {
	return func(v any) (T, []fault) {
		t, err := f(v)
		if err != nil {
			return t, []fault{{err: err}}
		}
		return t, nil
	}
}

// wrongType says what a value should be and which type it has, but does not show it.
func wrongType(want string, v any) error {
	got := ""
	switch v.(type) {
	case unreadable:
		return fmt.Errorf("must be %s", want)
	case string:
		got = "a string"
	case int64:
		got = "an integer"
	case float64:
		got = "a float"
	case bool:
		got = "true or false"
	case []any:
		got = "a list"
	case map[string]any:
		got = "a table"
	default:
		got = "a date or a time"
	}
	return fmt.Errorf("must be %s, not %s", want, got)
}

// notAList is what wrongType says of no list, with how a single text is written as one.
func notAList(v any, secret bool) error {
	err := wrongType("a list", v)
	if s, ok := v.(string); ok && !secret {
		return fmt.Errorf("%w: write [%s]", err, quoted(s))
	}
	return err
}

// quoted shows a value in an error. It must be no secret.
func quoted(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

func envText(text string) any { return text }

func envNumber(text string) any {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return unreadable{}
	}
	return n
}

func envBool(text string) any {
	switch strings.TrimSpace(text) {
	case "true", "1":
		return true
	case "false", "0":
		return false
	}
	return unreadable{}
}

// envList splits at commas. An empty text is the empty list.
func envList(text string) any {
	list := []any{}
	if strings.TrimSpace(text) == "" {
		return list
	}
	for part := range strings.SplitSeq(text, ",") {
		list = append(list, strings.TrimSpace(part))
	}
	return list
}

func parseText(check func(string) error) parser[string] {
	return one(func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", wrongType("a string", v)
		}
		if strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) {
			return "", errors.New("must not hold control characters")
		}
		return s, check(s)
	})
}

// text is any string that check takes.
func text(check func(string) error) kind[string] {
	return kind[string]{name: "string", parse: parseText(check), env: envText}
}

// anything accepts every text.
func anything(string) error { return nil }

// notLonger accepts texts of at most n characters.
func notLonger(n int) func(string) error {
	return func(s string) error {
		if utf8.RuneCountInString(s) > n {
			return fmt.Errorf("must not be longer than %d characters", n)
		}
		return nil
	}
}

func notEmpty(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// all accepts what each of checks does.
func all(checks ...func(string) error) func(string) error {
	return func(s string) error {
		for _, check := range checks {
			if err := check(s); err != nil {
				return err
			}
		}
		return nil
	}
}

// oneOf is an enumeration.
func oneOf(values ...string) kind[string] {
	k := text(func(s string) error {
		if !slices.Contains(values, s) {
			return noneOf(s, values)
		}
		return nil
	})
	k.values = values
	return k
}

func noneOf(s string, values []string) error {
	if len(values) == 1 {
		return fmt.Errorf("%s is not %q, the only value for now", quoted(s), values[0])
	}
	return fmt.Errorf("%s is none of %s", quoted(s), strings.Join(values, ", "))
}

// level is the enumeration of log levels.
func level() kind[slog.Level] {
	names := []string{"debug", "info", "warn", "error"}
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	k := oneOf(names...)
	return kind[slog.Level]{name: k.name, env: envText, values: names, parse: func(v any) (slog.Level, []fault) {
		s, faults := k.parse(v)
		return levels[max(0, slices.Index(names, s))], faults
	}}
}

func boolean() kind[bool] {
	return kind[bool]{name: "true or false", env: envBool, parse: one(func(v any) (bool, error) {
		b, ok := v.(bool)
		if !ok {
			return false, wrongType("true or false", v)
		}
		return b, nil
	})}
}

// number is a whole number from low to high, both included.
func number[N int | int64](low, high int64) kind[N] {
	return kind[N]{name: "number", env: envNumber, parse: one(func(v any) (N, error) {
		n, ok := v.(int64)
		switch {
		case !ok:
			return 0, wrongType("a whole number", v)
		case n < 0 && low == 0:
			return 0, errors.New("must not be negative")
		case n < low:
			return 0, fmt.Errorf("must be at least %d", low)
		case n > high:
			return 0, fmt.Errorf("must be at most %d", high)
		}
		return N(n), nil
	})}
}

// limit is a number of at least 0 that fits an int on every machine.
func limit() kind[int] { return number[int](0, math.MaxInt32) }

// list is a list of at most 100 000 entries of k.
func list[T any](k kind[T]) kind[[]T] {
	const most = 100_000
	name := "list of " + k.name + "s"
	if strings.HasSuffix(k.name, "s") {
		name = "list of " + k.name + "es"
	}
	return kind[[]T]{name: name, env: envList, file: linesOf, values: k.values, secret: k.secret, partly: true, parse: func(v any) ([]T, []fault) {
		entries, ok := v.([]any)
		if !ok {
			return nil, []fault{{err: notAList(v, k.secret)}}
		}
		if len(entries) > most {
			return nil, []fault{{err: fmt.Errorf("must not have more than %d entries", most)}}
		}
		out := make([]T, len(entries))
		var faults []fault
		for i, entry := range entries {
			t, wrong := k.parse(entry)
			out[i] = t
			for _, f := range wrong {
				faults = append(faults, fault{at: fmt.Sprintf("[%d]%s", i, f.at), err: fmt.Errorf("entry %d: %w", i+1, f.err)})
			}
		}
		return out, faults
	}}
}

// distinct is a list without duplicates.
func distinct(k kind[string]) kind[[]string] {
	l := list(k)
	parse := l.parse
	l.parse = func(v any) ([]string, []fault) {
		out, faults := parse(v)
		for i, s := range out {
			if first := slices.Index(out, s); first < i && faults == nil {
				faults = append(faults, fault{at: fmt.Sprintf("[%d]", i), err: fmt.Errorf("entry %d: is the same as entry %d", i+1, first+1)})
			}
		}
		return out, faults
	}
	return l
}

// atMost is a list with no more than n entries.
func atMost[T any](n int, k kind[[]T]) kind[[]T] {
	parse := k.parse
	k.parse = func(v any) ([]T, []fault) {
		out, faults := parse(v)
		if len(out) > n {
			faults = append(faults, fault{err: fmt.Errorf("must not have more than %d entries", n)})
		}
		return out, faults
	}
	return k
}

// secret is a text that no error shows.
func secret(check func(string) error) kind[Secret] {
	parse := parseText(check)
	return kind[Secret]{name: "secret", env: envText, file: envText, secret: true, parse: func(v any) (Secret, []fault) {
		s, faults := parse(v)
		return NewSecret(s), faults
	}}
}

// visible accepts a secret that a header can carry.
func visible(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("must be of printable ASCII characters without spaces: a header cannot carry others")
	}
	return nil
}

// unreserved accepts a secret that the Broker's webhook URLs can carry: its HTTP client sends user-info as it is
// written and does not decode escapes.
func unreserved(s string) error {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("-._~", r) {
			return errors.New("must be of letters, digits and -._~ only: the Broker's webhook URLs cannot carry others")
		}
	}
	return nil
}

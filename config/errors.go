package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid is wrapped by every error of [Load], unless the file cannot be read.
var ErrInvalid = errors.New("invalid configuration")

// Error is one mistake. Its text is one line and holds no secret.
type Error struct {
	Source string // the file as given to Load, or the name of an environment variable; empty: a default is at odds with something
	Line   int    // of Source, from 1; 0: unknown, or Source is a variable
	Column int    // in bytes, from 1; 0 but for mistakes in the TOML itself
	Key    string // such as "turn.limits.allocations"; empty if no key is meant
	Err    error

	// Because is for checks of [WithCheck]: the key that makes it a mistake. If nothing sets Key, it is placed there.
	Because string
}

// Error is "file:line: key: what is wrong", "VARIABLE: what is wrong" or, if a default is at odds with something, "key:
// what is wrong".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Source)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Column > 0 {
		fmt.Fprintf(&b, ":%d", e.Column)
	}
	if e.Source != "" {
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	return b.String() + e.Err.Error()
}

// Unwrap gives the mistake, and ErrInvalid.
func (e *Error) Unwrap() []error { return []error{e.Err, ErrInvalid} }

// joined makes one error of all mistakes: those of the file first, by line, then the others by name.
func joined(mistakes []*Error) error {
	slices.SortStableFunc(mistakes, func(a, b *Error) int {
		inFile := func(e *Error) int {
			if e.Line > 0 {
				return 0
			}
			return 1
		}
		return cmp.Or(
			cmp.Compare(inFile(a), inFile(b)), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.Key, b.Key),
		)
	})
	errs := make([]error, len(mistakes))
	for i, m := range mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}

package main

import (
	"errors"
	"strings"
)

// The comments in README.md between which the figures stand.
const (
	beginMark = "<!-- bench -->"
	endMark   = "<!-- /bench -->"
)

var errNoMarks = errors.New("no block between " + beginMark + " and " + endMark)

// replaceBlock puts block between the two marks, each on a line of its own, and leaves all else as it is.
func replaceBlock(text, block string) (string, error) {
	before, rest, ok := strings.Cut(text, beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 || strings.Contains(after, beginMark) {
		return text, errNoMarks
	}
	return before + beginMark + "\n" + strings.Trim(block, "\n") + "\n" + endMark + after, nil
}

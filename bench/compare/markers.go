package main

import (
	"errors"
	"strings"
)

// marks are comments in README.md between which figures stand.
type marks struct{ begin, end string }

var (
	socketMarks = marks{"<!-- bench -->", "<!-- /bench -->"}
	kernelMarks = marks{"<!-- kernel bench -->", "<!-- /kernel bench -->"}
)

var errNoMarks = errors.New("the block for the figures is missing")

// replace puts block between the two marks, each on a line of its own, and leaves all else as it is.
func (m marks) replace(text, block string) (string, error) {
	before, rest, ok := strings.Cut(text, m.begin)
	_, after, ok2 := strings.Cut(rest, m.end)
	if !ok || !ok2 || strings.Contains(after, m.begin) {
		return text, errNoMarks
	}
	return before + m.begin + "\n" + strings.Trim(block, "\n") + "\n" + m.end + after, nil
}

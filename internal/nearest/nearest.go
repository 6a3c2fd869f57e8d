// Package nearest finds which of the names that there are a misspelt one was meant to be.
package nearest

import "strings"

// Of returns the candidate that a misspelt name comes nearest to, or nothing if none is near. Of two that are as near it is the one with the
// longer beginning in common, then the shorter: first letters are seldom wrong. Case does not count, and a hyphen is as good as an underscore.
func Of(name string, candidates []string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	if len(name) > 256 {
		return ""
	}
	best, near, alike := "", 1+max(1, len(name)/4), 0
	for _, c := range candidates {
		d := distance(name, strings.ToLower(c))
		if d > near || d == near && best == "" {
			continue
		}
		begin := common(name, strings.ToLower(c))
		if d < near || begin > alike || begin == alike && len(c) < len(best) {
			best, near, alike = c, d, begin
		}
	}
	return best
}

// common is how many bytes two texts have in common at their beginning.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// distance counts the letters to insert, remove, change or swap with their neighbour to make b of a.
func distance(a, b string) int {
	var before, last, row []int
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := range len(a) {
		row = append(make([]int, 0, len(b)+1), i+1)
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			d := min(row[j]+1, last[j+1]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row = append(row, d)
		}
		before, last = last, row
	}
	return last[len(b)]
}

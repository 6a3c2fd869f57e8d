// Package nearest finds which of the names that there are a misspelt one was meant to be.
package nearest

import "strings"

// Of returns the candidate that a misspelt name comes nearest to, or nothing if none is near. Case does not count, and a
// hyphen is as good as an underscore.
func Of(name string, candidates []string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	if len(name) > 256 {
		return ""
	}
	best, near := "", 1+max(1, len(name)/4)
	for _, c := range candidates {
		if d := distance(name, strings.ToLower(c)); d < near {
			best, near = c, d
		}
	}
	return best
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

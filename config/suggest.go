package config

import (
	"fmt"
	"strings"
)

// unknown is the error for a name that is none, with the name that was perhaps meant.
func unknown(what, meant string) error {
	if meant == "" {
		return fmt.Errorf("unknown %s", what)
	}
	return fmt.Errorf("unknown %s; did you mean %s?", what, meant)
}

// Nearest is the candidate that a misspelt name is nearest to, empty where none is near.
func Nearest(name string, candidates []string) string {
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

// nearestKey is the key or table that an unknown path may have meant: the same name in another table, or one that is
// spelt nearly so.
func nearestKey(path string, keys []Key, tables bool) string {
	leaf := path[strings.LastIndexByte(path, '.')+1:]
	table := strings.TrimSuffix(strings.TrimSuffix(path, leaf), ".")
	var siblings, everywhere []string
	same := ""
	for _, k := range keys {
		parent := strings.TrimSuffix(strings.TrimSuffix(k.Name, k.Leaf()), ".")
		if tables {
			everywhere = append(everywhere, parent)
			continue
		}
		everywhere = append(everywhere, k.Name)
		if parent == table {
			siblings = append(siblings, k.Name)
		}
		if k.Leaf() == leaf {
			if same != "" {
				same = "-" // in several tables: which is meant cannot be told
			} else {
				same = k.Name
			}
		}
	}
	if meant := Nearest(path, siblings); meant != "" {
		return meant
	}
	if same != "" && same != "-" {
		return same
	}
	return Nearest(path, everywhere)
}

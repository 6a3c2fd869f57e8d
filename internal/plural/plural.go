// Package plural writes counted things for people.
package plural

import "strconv"

// Of writes n of a thing that is called one in the singular: "1 warning", "3 warnings".
func Of(n int, one string) string {
	if n != 1 {
		one += "s"
	}
	return strconv.Itoa(n) + " " + one
}

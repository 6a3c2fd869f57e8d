//go:build !linux

// Floor needs Linux: it measures what its system calls cost.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "floor: needs Linux")
	os.Exit(1)
}

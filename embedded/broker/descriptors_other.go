//go:build !unix

package broker

// descriptors is how many the process may open, where no limit is known.
func descriptors() int { return 8192 }

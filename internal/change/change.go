// Package change is the one shape in which every part takes other settings while it runs. A part's Prepare checks the
// new settings and gets all that they need ready; it returns either an error, and nothing has changed, or a [Change]
// that the caller applies or drops. So a reload can prepare every part, and then apply all of the changes or none.
package change

import (
	"errors"
	"slices"
)

// Change is a change that was prepared and has not been made. The caller calls exactly one of Apply and Drop, once. The
// zero value changes nothing.
type Change struct{ apply, drop func() }

// New makes a Change. apply must not fail: what can go wrong belongs before it. drop gives back what was taken to
// prepare the change, such as an open file or a bound socket. Either may be nil.
func New(apply, drop func()) Change { return Change{apply, drop} }

// Apply makes the change. It cannot fail.
func (c Change) Apply() {
	if c.apply != nil {
		c.apply()
	}
}

// Drop gives up the change and releases what was taken for it. The part goes on as before.
func (c Change) Drop() {
	if c.drop != nil {
		c.drop()
	}
}

// Set gathers the changes of several parts. The zero value is empty and ready for use, by one goroutine.
type Set struct {
	changes []Change
	errs    []error
}

// Add takes what a Prepare returned: set.Add(part.Prepare(settings)). The Change is ignored if there is an error.
func (s *Set) Add(c Change, err error) {
	if err != nil {
		s.errs = append(s.errs, err)
		return
	}
	s.changes = append(s.changes, c)
}

// Join returns the changes as one, which applies them in the order in which they were added and drops them in the
// reverse order. If any part had an error, Join drops every change and returns all the errors, joined. The Set is empty
// afterwards.
func (s *Set) Join() (Change, error) {
	changes, errs := s.changes, s.errs
	*s = Set{}
	all := New(
		func() {
			for _, c := range changes {
				c.Apply()
			}
		},
		func() {
			for _, c := range slices.Backward(changes) {
				c.Drop()
			}
		})
	if err := errors.Join(errs...); err != nil {
		all.Drop()
		return Change{}, err
	}
	return all, nil
}

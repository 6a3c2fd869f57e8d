// Package stages runs the parts of the process and ends them in order.
package stages

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Part is something that runs until its context ends, and returns when everything it started has ended.
type Part func(context.Context) error

// Run runs all parts of all stages at once. When ctx ends, it ends the parts of the first stage, and those of each further
// stage once all parts of the stage before have returned. A part that fails ends all of them at once. Run returns the first
// error when every part has returned.
func Run(ctx context.Context, stages ...[]Part) error {
	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	before := ctx
	for _, parts := range stages {
		run, end := context.WithCancel(failed)
		defer end()
		defer context.AfterFunc(before, end)()
		ended, done := context.WithCancel(failed)
		var running sync.WaitGroup
		for _, p := range parts {
			running.Add(1)
			g.Go(func() error {
				defer running.Done()
				return p(run)
			})
		}
		g.Go(func() error {
			running.Wait()
			done()
			return nil
		})
		before = ended
	}
	return g.Wait()
}

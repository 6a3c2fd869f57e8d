package stages_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/stages"
)

// record notes in which order parts end.
type record struct {
	mu    sync.Mutex
	ended []string
}

// part ends with its context, and not before every part named in after has ended.
func (r *record) part(t *testing.T, name string, after ...string) stages.Part {
	return func(ctx context.Context) error {
		<-ctx.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, other := range after {
			if !slices.Contains(r.ended, other) {
				t.Errorf("%s ends before %s", name, other)
			}
		}
		r.ended = append(r.ended, name)
		return nil
	}
}

func TestStagesEndInOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var r record
	up := make(chan struct{})
	last := func(ctx context.Context) error {
		close(up) // the last stage is up at once, too
		return r.part(t, "base", "turn", "front", "hooks")(ctx)
	}
	go func() { <-up; cancel() }()
	if err := stages.Run(ctx, []stages.Part{r.part(t, "turn")}, []stages.Part{r.part(t, "front", "turn"), r.part(t, "front", "turn")},
		[]stages.Part{r.part(t, "hooks", "front")}, []stages.Part{last}); err != nil {
		t.Fatal(err)
	}
	if len(r.ended) != 5 {
		t.Errorf("ended: %v", r.ended)
	}
}

// A stage that has no parts holds up none behind it.
func TestEmptyStage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var r record
	if err := stages.Run(ctx, []stages.Part{r.part(t, "a")}, nil, []stages.Part{r.part(t, "b", "a")}); err != nil || len(r.ended) != 2 {
		t.Errorf("%v, ended: %v", err, r.ended)
	}
}

func TestFailureEndsAll(t *testing.T) {
	broken := errors.New("broken")
	var r record
	err := stages.Run(t.Context(), []stages.Part{r.part(t, "turn")}, []stages.Part{func(context.Context) error { return broken }},
		[]stages.Part{r.part(t, "base")})
	if !errors.Is(err, broken) || len(r.ended) != 2 {
		t.Errorf("%v, ended: %v", err, r.ended)
	}
}

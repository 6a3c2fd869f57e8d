package hooks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// TestBudget has three bodies want more than there is: one of them goes on, the others wait until something is given
// back.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		one, two, three := &share{of: b}, &share{of: b}, &share{of: b}
		for _, s := range []*share{one, two} {
			if waited, err := s.take(t.Context(), bodyAtOnce/2); waited || err != nil {
				t.Fatal(waited, err)
			}
		}
		for range 100 {
			if waited, err := one.take(t.Context(), bodyFree); waited || err != nil {
				t.Fatal(waited, err)
			}
		}
		done := make(chan bool, 2)
		for _, s := range []*share{two, three} {
			go func() {
				waited, err := s.take(t.Context(), bodyFree)
				if err != nil {
					t.Error(err)
				}
				done <- waited
			}()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (&share{of: b}).take(ctx, 1); err == nil {
			t.Error("taken for nobody")
		}
		synctest.Wait()
		if len(done) > 0 {
			t.Error("more than there is was taken")
		}
		one.giveBack()
		for range 2 {
			if !<-done {
				t.Error("it is not said that somebody waited")
			}
		}
		two.giveBack()
		three.giveBack()
		three.giveBack()
		if b.left != bodyAtOnce || b.over != nil {
			t.Errorf("%d left", b.left)
		}
	})
}

func TestNodeList(t *testing.T) {
	var l nodeList
	for range 2 {
		var want []string
		for i := range 5000 {
			id := strings.Repeat("x", 1+i%256)
			want = append(want, id)
			l.add([]byte(id))
		}
		l.done()
		for range 2 {
			if !slices.Equal(slices.Collect(l.all), want) {
				t.Error("other ids come out")
			}
		}
		for range l.all { // may be left early
			break
		}
		l.reset()
	}
	if len(slices.Collect(l.all)) > 0 {
		t.Error("not empty")
	}
}

// onlyBen is a registry that has banned Ben and forgets the rest.
type onlyBen struct{ noRegistry }

func (onlyBen) BanReason(node string) (string, bool) { return "", node == "Ben" }

// TestLargeBodiesAtOnce has six Brokers send 12 MB of a validity check each, and then stop. What is held of them is
// bounded, and when they go on each is answered.
func TestLargeBodiesAtOnce(t *testing.T) {
	r := start(t, func(cfg *setup) { cfg.Asked.Registry, cfg.Asked.Policy = onlyBen{}, nil })
	const brokers, size = 6, 12 << 20
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	entry := []byte(`"abcdefgh",`)
	body := append([]byte(`{"connectedNodesIds":[`), bytes.Repeat(entry, size/len(entry))...)
	const end = `"Ben"]}`
	before := heap()
	sent, goOn := make(chan struct{}, brokers), make(chan struct{})
	var all sync.WaitGroup
	for range brokers {
		all.Go(func() {
			c, err := net.Dial("tcp", r.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
				PathValidity, testToken, len(body)+len(end))
			_, err = c.Write(body)
			sent <- struct{}{}
			<-goOn
			_, errEnd := io.WriteString(c, end)
			answer, errRead := http.ReadResponse(bufio.NewReader(c), nil)
			if err := errors.Join(err, errEnd, errRead); err != nil {
				t.Error(err)
				return
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || string(text) != `{"invalidNodesIds":["Ben"]}` {
				t.Errorf("%d %.100s, %v", answer.StatusCode, text, err)
			}
		})
	}
	<-sent // the one that may go beyond the budget
	for used := false; !used; runtime.Gosched() {
		r.budget.mu.Lock()
		used = r.budget.left < bodyFree && r.budget.over != nil
		r.budget.mu.Unlock()
	}
	if more := heap() - before; more > bodyAtOnce+2*size {
		t.Errorf("%d MB more are held", more>>20)
	}
	close(goOn)
	all.Wait()
}

package load

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestFlowCounts(t *testing.T) {
	r := &run{id: 7, from: 1000, to: 2000}
	f := &flow{r: r}
	send := func(id, number uint32, sent, at int64) {
		b := make([]byte, 20)
		putHeader(b, id, number, sent)
		f.take(b, at)
	}
	send(7, 1, 900, 1010)  // of the warm-up, arrives while measuring
	send(7, 2, 1000, 1100) // counts in full
	send(7, 4, 1300, 1500)
	send(7, 3, 1200, 1600)  // overtaken
	send(7, 5, 1999, 2100)  // sent in time, arrives behind the end
	send(7, 6, 2000, 2100)  // too late
	send(8, 7, 1500, 1600)  // of another run
	f.take([]byte{0}, 1500) // too short
	f.done()
	got := &r.tally
	if got.arrived != 4 || got.matched != 4 || got.reordered != 1 || got.flows != 1 || got.latency.n != 4 {
		t.Errorf("arrived %d, matched %d, reordered %d, flows %d, latencies %d",
			got.arrived, got.matched, got.reordered, got.flows, got.latency.n)
	}
	// Transit times of 100, 200, 400 and 101 ns.
	want := 0.0
	for _, d := range []float64{100, 200, 299} {
		want += (d - want) / 16
	}
	if math.Abs(got.jitter-want) > 1e-9 {
		t.Errorf("jitter %g, want %g", got.jitter, want)
	}
}

func TestPacing(t *testing.T) {
	for _, test := range []struct {
		rate, clients, batch int
		n                    int
		gap                  time.Duration
	}{
		{rate: 0, clients: 4, batch: 32, n: 32},
		{rate: 40000, clients: 8, batch: 32, n: 10, gap: 2 * time.Millisecond},
		{rate: 10000, clients: 50, batch: 32, n: 1, gap: 5 * time.Millisecond},
		{rate: 1000000, clients: 1, batch: 32, n: 32, gap: 32 * time.Microsecond},
		{rate: 1, clients: 2, batch: 32, n: 1, gap: 2 * time.Second},
	} {
		r := &run{Config: Config{Direction: Up, Size: 100, Rate: test.rate, Clients: test.clients, Batch: test.batch}}
		s := r.sender(&client{udp: nowhere{}}, 0, 0)
		if s.n != test.n || time.Duration(s.gap) != test.gap || len(s.heads) != test.n {
			t.Errorf("%+v: %d every %v", test, s.n, time.Duration(s.gap))
		}
		last := r.sender(&client{udp: nowhere{}}, test.clients-1, 0)
		if want := test.gap * time.Duration(test.clients-1) / time.Duration(test.clients); time.Duration(last.next) != want {
			t.Errorf("%+v: the last client begins after %v, want %v", test, time.Duration(last.next), want)
		}
		r.Together = true
		if last = r.sender(&client{udp: nowhere{}}, test.clients-1, 0); last.next != 0 {
			t.Errorf("%+v: not together", test)
		}
	}
}

// Clients that share a sender have their turn one after the other, and as often.
func TestTurns(t *testing.T) {
	r := &run{Config: Config{Direction: Up, Size: 100, Rate: 1e6, Clients: 3, Batch: 1}, origin: time.Now(), to: int64(time.Hour)}
	var order []int
	var all []*sender
	for i := range 3 {
		s := r.sender(&client{udp: nowhere{}}, i, 0)
		s.write = func() (int, error) {
			if order = append(order, i); len(order) == 7 {
				r.stopped.Store(true)
			}
			return 1, nil
		}
		all = append(all, s)
	}
	(&sender{r: r, gap: all[0].gap / 3}).turns(all)
	if want := []int{0, 1, 2, 0, 1, 2, 0}; !slices.Equal(order, want) || r.tally.sent != 7 || all[0].number != 3 {
		t.Errorf("sent by %v, want %v; %d in all", order, want, r.tally.sent)
	}
}

type nowhere struct{ packets }

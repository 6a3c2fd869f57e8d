package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxJWKS        = 1 << 20          // bytes of a key set
	jwksTimeout    = 10 * time.Second // for one fetch
	jwksMinBetween = 30 * time.Second // between fetches that unknown key ids cause
	jwksMaxBackoff = 5 * time.Minute
	jwksWait       = 3 * time.Second // that a Node waits for a fetch under way
	jwksWaiting    = 32              // Nodes that may
)

// jwks is a key set that is kept up to date by run. The last good set stays in use until there is a newer one.
type jwks struct {
	source  string // a reload takes the keys over if it is the same
	fetch   func(ctx context.Context) ([]byte, error)
	refresh time.Duration
	now     func() time.Time
	set     atomic.Pointer[keySet]
	said    *once         // of keys that are passed over
	asked   chan struct{} // an unknown key id was seen
	waiting atomic.Int32

	mu      sync.Mutex
	tried   time.Time     // when the last fetch began
	loading bool          // it has not ended
	round   chan struct{} // closed at the end of the next fetch, or this one
}

func newJWKS(source string, fetch func(context.Context) ([]byte, error), refresh time.Duration, now func() time.Time) *jwks {
	return &jwks{source: source, fetch: fetch, refresh: refresh, now: now, said: &once{}, asked: make(chan struct{}, 1), round: make(chan struct{})}
}

func fileFetcher(path string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return readFile(path) }
}

func urlFetcher(url string) func(context.Context) ([]byte, error) {
	client := &http.Client{Timeout: jwksTimeout, Transport: newTransport(1), CheckRedirect: sameHost}
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, errUnreachable
		}
		request.Close = true // the next fetch is an hour away
		request.Header.Set("Accept", "application/json")
		response, err := client.Do(request)
		if err != nil {
			return nil, withoutURL(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("it answered %d", response.StatusCode)
		}
		body, err := io.ReadAll(io.LimitReader(response.Body, maxJWKS+1))
		switch {
		case err != nil:
			return nil, withoutURL(err)
		case len(body) > maxJWKS:
			return nil, errors.New("its answer is larger than 1 MiB")
		}
		return body, nil
	}
}

// load fetches the set once and wakes those who wait for it.
func (k *jwks) load(ctx context.Context) error {
	k.mu.Lock()
	k.tried, k.loading = k.now(), true
	select {
	case <-k.asked: // this is it
	default:
	}
	k.mu.Unlock()
	text, err := k.fetch(ctx)
	if err == nil {
		var set *keySet
		if set, err = parseKeySet(withoutBOM(text)); err == nil {
			k.set.Store(set)
		}
	}
	k.mu.Lock()
	close(k.round)
	k.loading, k.round = false, make(chan struct{})
	k.mu.Unlock()
	return err
}

// run keeps the set up to date until ctx ends.
func (k *jwks) run(ctx context.Context, log *slog.Logger) {
	failures := 0
	var wait time.Duration // a set that is there was loaded just now
	if k.set.Load() != nil {
		wait = k.refresh
	}
	for {
		k.sayPassedOver(log)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-k.asked:
			timer.Stop()
		}
		err := k.load(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if failures > 0 {
				log.Info("JSON web keys are loaded again")
			}
			failures, wait = 0, k.refresh
		default:
			if failures == 0 {
				log.Warn("JSON web keys cannot be loaded, the last ones stay", "error", err)
			}
			failures++
			wait = backoff(failures, min(k.refresh, jwksMaxBackoff))
		}
	}
}

// backoff grows from a second to limit, and is never quite the same twice.
func backoff(failures int, limit time.Duration) time.Duration {
	wait := min(limit, time.Second<<min(failures-1, 16))
	return wait/2 + rand.N(wait/2+1)
}

// sayPassedOver logs each key of the set that cannot be used, once.
func (k *jwks) sayPassedOver(log *slog.Logger) {
	set := k.set.Load()
	if set == nil {
		return
	}
	for _, p := range set.passedOver {
		if k.said.first(p) {
			log.Warn("a key of the key set is passed over", "kid", p.id, "reason", p.reason)
		}
	}
}

// key finds the keys for a token, after one more fetch if that may help.
func (k *jwks) key(ctx context.Context, kid, algorithm string) (any, error) {
	set := k.set.Load()
	key, err := set.find(kid, algorithm)
	if errors.Is(err, errUnknownKey) || errors.Is(err, errNoKeys) {
		if newer := k.newer(ctx, set); newer != nil {
			return newer.find(kid, algorithm)
		}
	}
	return key, err
}

func (k *jwks) again(ctx context.Context) bool { return k.newer(ctx, k.set.Load()) != nil }

// newer waits for a fetch, unless there was one just now or too many wait for one already, and returns the set if it is
// another one then.
func (k *jwks) newer(ctx context.Context, than *keySet) *keySet {
	if round := k.ask(); round != nil && k.waiting.Add(1) <= jwksWaiting {
		timer := time.NewTimer(jwksWait)
		select {
		case <-round:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		k.waiting.Add(-1)
	} else if round != nil {
		k.waiting.Add(-1)
	}
	if set := k.set.Load(); set != than {
		return set
	}
	return nil
}

// ask requests a fetch and returns a channel that is closed when it has ended; nil: there was one just now.
func (k *jwks) ask() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.loading {
		return k.round
	}
	if !k.tried.IsZero() && k.now().Sub(k.tried) < jwksMinBetween {
		return nil
	}
	select {
	case k.asked <- struct{}{}:
	default:
	}
	return k.round
}

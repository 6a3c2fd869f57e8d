// Package vault keeps in Redis what the machines of a fleet have in common and nobody else may read, such as the keys of
// certificates: enclosed (package seal), each under a name for which alone it counts. It has locks too, so that one machine at a
// time does something.
//
// A value in Redis is a copy. Who keeps one there has it on a disk as well, and brings it back when it is gone. Somebody who can
// write Redis can show a value again that stood under the same name before: who takes one has to see whether it is newer than
// his own.
package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/seal"
)

const (
	// prefix is before all names: the same as of package fleet's keys, which no id of a Node is.
	prefix = "\xffcrolang-aio/1/vault/"
	locks  = "\xffcrolang-aio/1/lock/"
	// MaxValue is how long a value may be, in bytes.
	MaxValue = 256 << 10
	// patience is how long one exchange with Redis may take.
	patience = 2 * time.Second
	// DefaultHold is how long a lock is had where nobody extends it: its machine has died, or is away from Redis.
	DefaultHold = time.Minute
	atOnce      = 32 // values in one exchange
)

// The scripts are those of Brokers, so that the embedded Redis knows them.
var (
	extend  = redis.NewScript(`if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) else return 0 end`)
	release = redis.NewScript(`if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) else return 0 end`)
)

// Vault is one machine's access. Make it with [New]. Its methods may be called from any goroutine.
type Vault struct {
	redis redis.UniversalClient
	hold  time.Duration
	ring  atomic.Pointer[seal.Ring]

	strangers, forged atomic.Uint64
}

// New makes one. The caller closes client when nobody uses the Vault any more. secrets are those of credentials, that for new ones
// first. hold is how long a lock lasts that nobody extends; 0: [DefaultHold].
func New(client redis.UniversalClient, secrets []string, hold time.Duration) (*Vault, error) {
	if hold == 0 {
		hold = DefaultHold
	}
	v := &Vault{redis: client, hold: hold}
	first, err := v.Prepare(secrets)
	if err != nil {
		return nil, err
	}
	first.Apply()
	return v, nil
}

// Prepare gets ready for other secrets.
func (v *Vault) Prepare(secrets []string) (change.Change, error) {
	ring, err := seal.NewRing(secrets)
	if err != nil {
		return change.Change{}, fmt.Errorf("vault: %w", err)
	}
	return change.New(func() { v.ring.Store(ring) }, nil), nil
}

// Counts are values in Redis that were not believed, since the start.
type Counts struct {
	Strangers uint64 // enclosed with another secret
	Forged    uint64 // by nobody who has the secret, or for another name
}

// Counts returns them.
func (v *Vault) Counts() Counts {
	return Counts{Strangers: v.strangers.Load(), Forged: v.forged.Load()}
}

// Get returns what is kept under the names, in their order; nil: nothing is, or nothing that can be believed. The error says that
// Redis is away.
func (v *Vault) Get(ctx context.Context, names ...string) ([][]byte, error) {
	values := make([][]byte, 0, len(names))
	for part := range slices.Chunk(names, atOnce) {
		keys := make([]string, len(part))
		for i, name := range part {
			keys[i] = prefix + name
		}
		limited, cancel := context.WithTimeout(ctx, patience)
		found, err := v.redis.MGet(limited, keys...).Result()
		cancel()
		if err != nil {
			return nil, err
		}
		if len(found) != len(part) {
			return nil, fmt.Errorf("asked for %d values Redis answered %d", len(part), len(found))
		}
		for i, one := range found {
			text, _ := one.(string)
			values = append(values, v.open(part[i], text))
		}
	}
	return values, nil
}

func (v *Vault) open(name, enclosed string) []byte {
	if enclosed == "" {
		return nil
	}
	if len(enclosed) > 2*MaxValue {
		v.forged.Add(1)
		return nil
	}
	text, err := v.ring.Load().Unbox(prefix+name, enclosed)
	switch {
	case errors.Is(err, seal.ErrStranger):
		v.strangers.Add(1)
	case err != nil:
		v.forged.Add(1)
	}
	return text
}

// Put keeps a value under a name, for a time at most if that is not 0.
func (v *Vault) Put(ctx context.Context, name string, value []byte, lasting time.Duration) error {
	return v.put(ctx, name, value, lasting, false)
}

// PutNew does where nothing is kept under it. Values that are not believed count as nothing.
func (v *Vault) PutNew(ctx context.Context, name string, value []byte) error {
	return v.put(ctx, name, value, 0, true)
}

func (v *Vault) put(ctx context.Context, name string, value []byte, lasting time.Duration, absent bool) error {
	if len(value) > MaxValue {
		return fmt.Errorf("vault: %d bytes are more than %d", len(value), MaxValue)
	}
	enclosed := v.ring.Load().Enclose(prefix+name, value)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !absent {
		return v.redis.Set(ctx, prefix+name, enclosed, lasting).Err()
	}
	if set, err := v.redis.SetNX(ctx, prefix+name, enclosed, 0).Result(); err != nil || set {
		return err
	}
	there, err := v.redis.Get(ctx, prefix+name).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if v.open(name, there) != nil {
		return nil
	}
	return v.redis.Set(ctx, prefix+name, enclosed, 0).Err()
}

// Delete removes what is kept under a name.
func (v *Vault) Delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return v.redis.Del(ctx, prefix+name).Err()
}

// Lock takes the lock of a name for this process alone; unlock is nil if somebody else has it, and the error says that Redis is
// away. lost is called, from another goroutine, if the lock is lost before unlock: somebody else may have it, or Redis is away
// for so long that this cannot be told. unlock gives it back, waits until nothing of it is left here, and has to be called, once.
func (v *Vault) Lock(ctx context.Context, name string, lost func()) (unlock func(), err error) {
	owner := rand.Text()
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, patience)
	got, err := v.redis.SetNX(limited, locks+name, owner, v.hold).Result()
	cancel()
	switch {
	case err != nil:
		v.release(ctx, name, owner) // it may have come through
		return nil, err
	case !got:
		return nil, nil
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !v.keep(ctx, name, owner, begun) {
			lost()
		}
	}()
	return func() {
		stop()
		<-done
		v.release(context.WithoutCancel(ctx), name, owner)
	}, nil
}

func (v *Vault) release(ctx context.Context, name, owner string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = release.Run(ctx, v.redis, []string{locks + name}, owner).Err() // else it ends by itself
}

// keep extends a lock until ctx ends, and reports whether it was there all the time.
func (v *Vault) keep(ctx context.Context, name, owner string, since time.Time) bool {
	tick := time.NewTicker(v.hold / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return true
		case <-tick.C:
		}
		now := time.Now()
		limited, cancel := context.WithTimeout(ctx, min(patience, v.hold/4))
		n, err := extend.Run(limited, v.redis, []string{locks + name}, owner, v.hold.Milliseconds()).Int64()
		cancel()
		switch {
		case ctx.Err() != nil:
			return true
		case err == nil && n == 1:
			since = now
		case err == nil, time.Since(since) > v.hold*3/4: // what was agreed on ends before the next try would
			return false
		}
	}
}

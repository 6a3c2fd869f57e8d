// Package replicas shares Nodes' ids and messages with other Brokers over Redis, as the original Broker does, so that both
// kinds may stand beside each other: a lock is the key of a Node's bare id with its socket id as the value, and a message is
// published on the channel socket.io#/#SOCKETID#, as by @socket.io/redis-adapter 8.
//
// Unlike the original, a lock is extended and released only by who holds it. No failure of Redis ends anything: what fails
// is told to the caller at once while Redis is known to be away.
package replicas

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/contain"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// Scripts, which Redis knows by their SHA-1 sums. The embedded Redis offers these and no others.
const (
	ExtendScript  = `if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) else return 0 end`
	ReleaseScript = `if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) else return 0 end`
)

var (
	extend  = redis.NewScript(ExtendScript)
	release = redis.NewScript(ReleaseScript)
)

const (
	// usualTimeout of a single question; a Node waits for its answer.
	usualTimeout = 2 * time.Second
	// pause is for how long Redis is not asked after a failure.
	pause = time.Second
	// batch is how many commands are sent at once.
	batch = 256
	// maxOrphans bounds the locks that are remembered since Redis was away when they should have been released.
	maxOrphans = 100_000
	// maxSID is how long a socket id may be.
	maxSID = 64
)

var (
	// errAway: Redis failed a moment ago.
	errAway = errors.New("redis is away")
	// errPanic: what Redis has sent was more than the library could bear.
	errPanic = errors.New("redis has sent what could not be handled")
)

// Lock is a Node's id and the socket that holds it.
type Lock struct{ Node, SID string }

// Config of Replicas. Deliver is called for a message from another Broker, one after the other; it must not block, nor keep
// text.
type Config struct {
	Client  redis.UniversalClient
	TTL     time.Duration
	Timeout time.Duration // of a single question; 0: 2 s
	Deliver func(sid, event string, text []byte)
	// Gone reports whether the Broker that a socket id names in its end has ended for certain, see [NewSID]. It must not block.
	// nil: no Broker has.
	Gone   func(owner string) bool
	Logger *slog.Logger
}

// Replicas may be used from any goroutine.
type Replicas struct {
	cfg      Config
	uid      string
	awayTill atomic.Int64 // Unix nanoseconds
	failing  atomic.Bool  // logged, and not yet well again
	failures atomic.Uint64
	panics   contain.Panics

	mu      sync.Mutex
	orphans map[string]string // socket ids whose locks could not be released, by Node
}

// New does not ask Redis anything yet.
func New(cfg Config) *Replicas {
	if cfg.Timeout <= 0 {
		cfg.Timeout = usualTimeout
	}
	if cfg.Gone == nil {
		cfg.Gone = func(string) bool { return false }
	}
	return &Replicas{cfg: cfg, uid: newUID(), orphans: map[string]string{}}
}

// Failures is how often Redis failed.
func (r *Replicas) Failures() uint64 { return r.failures.Load() }

// ask runs question unless Redis has just failed, and takes note of how it went.
func (r *Replicas) ask(ctx context.Context, question func(ctx context.Context) error) error {
	if time.Now().UnixNano() < r.awayTill.Load() {
		return errAway
	}
	limited, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	err := r.contained(func() error { return question(limited) })
	switch {
	case err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE"): // a foreign key of a Node's name
		if r.failing.CompareAndSwap(true, false) {
			r.cfg.Logger.Info("Redis answers again")
		}
	case ctx.Err() != nil: // the Node has gone
	default:
		r.failures.Add(1)
		var answered redis.Error // read-only, full: it is there, and asking is cheap
		if !errors.As(err, &answered) {
			r.awayTill.Store(time.Now().Add(pause).UnixNano())
		}
		if r.failing.CompareAndSwap(false, true) {
			r.cfg.Logger.Warn("Redis fails: Nodes that are connected stay, newcomers are told to try again", "error", err)
		}
	}
	return err
}

// contained runs f, which reads from Redis. A panic in it is an error.
func (r *Replicas) contained(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			r.panics.Stopped(r.cfg.Logger, "what the Brokers' Redis has sent could not be handled, this goes on: please report this", cause)
			err = errPanic
		}
	}()
	return f()
}

// Acquire takes the lock of node for sid; false if another has it. What a Broker has left that is gone is nobody's: it is given
// back by who finds it, and only if it is still the same.
func (r *Replicas) Acquire(ctx context.Context, node, sid string) (ok bool, err error) {
	for range 2 {
		err = r.ask(ctx, func(ctx context.Context) (err error) {
			ok, err = r.cfg.Client.SetNX(ctx, node, sid, r.cfg.TTL).Result() // SET NX PX, as the original
			return err
		})
		if err != nil || ok {
			break
		}
		orphan := r.orphan(node) // ours, of a Node that left while Redis was away
		if orphan == "" {
			if orphan = r.left(ctx, node); orphan == "" {
				return false, nil
			}
		}
		if err = r.release(ctx, node, orphan); err != nil {
			return false, err
		}
		r.forget(node, orphan)
	}
	if err != nil {
		// It may have come to pass all the same.
		r.remember(node, sid)
	}
	return ok, err
}

// Release gives a lock back that sid holds. Where Redis is away that is made up for later.
func (r *Replicas) Release(ctx context.Context, node, sid string) {
	if r.release(ctx, node, sid) != nil {
		r.remember(node, sid)
	}
}

func (r *Replicas) release(ctx context.Context, node, sid string) error {
	return r.ask(ctx, func(ctx context.Context) error {
		return release.Run(ctx, r.cfg.Client, []string{node}, sid).Err()
	})
}

func (r *Replicas) remember(node, sid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.orphans) < maxOrphans {
		r.orphans[node] = sid
	}
}

func (r *Replicas) forget(node, sid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.orphans[node] == sid {
		delete(r.orphans, node)
	}
}

func (r *Replicas) orphan(node string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orphans[node]
}

// Find is the socket id that holds the lock of node. A failure counts as nobody.
func (r *Replicas) Find(ctx context.Context, node string) (sid string, found bool) {
	if !askable(node) {
		return "", false
	}
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		sid, err = r.cfg.Client.GetRange(ctx, node, 0, maxSID).Result()
		return err
	})
	return sid, err == nil && r.holds(sid, node)
}

// FindAll sets found[i] for each i of which whose Node has a lock.
func (r *Replicas) FindAll(ctx context.Context, nodes []string, which []int, found []bool) {
	for len(which) > 0 {
		part := which[:min(len(which), batch)]
		which = which[len(part):]
		gets := make([]*redis.StringCmd, len(part)) // nil: no Node has such an id
		err := r.ask(ctx, func(ctx context.Context) error {
			_, err := r.cfg.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i, at := range part {
					if askable(nodes[at]) {
						gets[i] = p.GetRange(ctx, nodes[at], 0, maxSID)
					}
				}
				return nil
			})
			return err
		})
		if err != nil && !isAnswer(err) {
			return
		}
		for i, at := range part {
			if get := gets[i]; get != nil {
				found[at] = get.Err() == nil && r.holds(get.Val(), nodes[at])
			}
		}
	}
}

// askable reports whether a Node may have the id, so that no other key is ever looked at.
func askable(id string) bool { return nodeid.Valid(id) == nil }

// isSID reports whether the value of a key is a socket id: 20 letters, digits, - and _ with both kinds of Brokers. Others may
// have longer ones, up to a bound; what is behind that is never fetched.
func isSID(text string) bool {
	if text == "" || len(text) > maxSID {
		return false
	}
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// isAnswer reports whether Redis itself said no, to a key of another type for instance.
func isAnswer(err error) bool {
	var answered redis.Error
	return errors.As(err, &answered)
}

// Extend extends locks, takes those anew that nobody has (Redis was emptied, or away for too long), and gives back the ones
// that another has taken. Where Redis fails nothing is lost.
func (r *Replicas) Extend(ctx context.Context, locks []Lock) (lost []Lock) {
	r.makeUp(ctx)
	for len(locks) > 0 {
		part := locks[:min(len(locks), batch)]
		locks = locks[len(part):]
		extended := make([]*redis.Cmd, len(part))
		unknown := false
		run := func(ctx context.Context) error {
			_, err := r.cfg.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i, l := range part {
					extended[i] = p.EvalSha(ctx, extend.Hash(), []string{l.Node}, l.SID, r.cfg.TTL.Milliseconds())
				}
				return nil
			})
			if unknown = redis.HasErrorPrefix(err, "NOSCRIPT"); unknown {
				return nil // no failure: Redis was started anew, or has never seen the script
			}
			return err
		}
		err := r.ask(ctx, run)
		if err == nil && unknown {
			if err = r.ask(ctx, func(ctx context.Context) error {
				return extend.Eval(ctx, r.cfg.Client, []string{part[0].Node}, part[0].SID, r.cfg.TTL.Milliseconds()).Err()
			}); err == nil {
				err = r.ask(ctx, run)
			}
		}
		if err != nil && !isAnswer(err) {
			return lost
		}
		for i, l := range part {
			if n, err := extended[i].Int(); err != nil || n == 1 {
				continue
			}
			if r.gone(ctx, l) {
				lost = append(lost, l)
			}
		}
	}
	return lost
}

// gone takes a lock anew, and reports whether another has it.
func (r *Replicas) gone(ctx context.Context, l Lock) bool {
	ok := true
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		ok, err = r.cfg.Client.SetNX(ctx, l.Node, l.SID, r.cfg.TTL).Result()
		return err
	})
	return err == nil && !ok
}

// makeUp releases what could not be released before.
func (r *Replicas) makeUp(ctx context.Context) {
	r.mu.Lock()
	var due []Lock
	for node, sid := range r.orphans {
		due = append(due, Lock{node, sid})
	}
	r.mu.Unlock()
	for _, l := range due {
		if r.release(ctx, l.Node, l.SID) != nil {
			return
		}
		r.forget(l.Node, l.SID)
	}
}

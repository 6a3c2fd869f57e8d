package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// quiet keeps the library from logging by itself: the Broker says once that Redis fails.
var quiet sync.Once

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// OpenRedis makes a client for Config.Redis from a URL (redis://, rediss://, unix://): short waits, and no asking again by
// itself, since the Broker answers a Node meanwhile. It connects when it is first used. The caller closes it.
func OpenRedis(url string) (redis.UniversalClient, error) {
	quiet.Do(func() { redis.SetLogger(silence{}) })
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("%w: fleet.redis_url: %w; write it as redis://host:6379", ErrConfig, err)
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = 2*time.Second, 2*time.Second, 2*time.Second
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.Protocol = 2
	return redis.NewClient(o), nil
}

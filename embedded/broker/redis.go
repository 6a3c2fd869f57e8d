package broker

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// OpenRedis makes a client for Config.Redis from a URL (redis://, rediss://, unix://): short waits, and no asking again by
// itself, since the Broker answers a Node meanwhile. It connects when it is first used. The caller closes it.
func OpenRedis(url string) (redis.UniversalClient, error) {
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

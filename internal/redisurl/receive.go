package redisurl

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Receive calls take with what a subscription gets, in the order of arrival: a [*redis.Message], or a [*redis.Subscription] each
// time that the library has subscribed. It returns when the subscription has broken, or ctx has ended. One that has been quiet for
// quiet is asked whether it is still there.
func Receive(ctx context.Context, sub *redis.PubSub, quiet time.Duration, take func(any)) {
	stop := context.AfterFunc(ctx, func() { sub.Close() })
	defer stop()
	for {
		m, err := sub.ReceiveTimeout(ctx, quiet)
		if err == nil {
			take(m)
			continue
		}
		var timeout interface{ Timeout() bool }
		if ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout() && sub.Ping(ctx) == nil {
			continue
		}
		return
	}
}

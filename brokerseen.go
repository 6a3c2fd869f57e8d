package main

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/internal/admin"
	"github.com/crolang-p2p/crolang-aio/internal/doctor"
)

// brokerSeen is when a Broker last called a webhook. The program's own tests of itself do not count.
type brokerSeen struct{ unix atomic.Int64 }

func (b *brokerSeen) now() { b.unix.Store(time.Now().Unix()) }

// time is zero where there has been no call.
func (b *brokerSeen) time() time.Time {
	if s := b.unix.Load(); s != 0 {
		return time.Unix(s, 0).UTC()
	}
	return time.Time{}
}

// observeHook is told of each answer of a webhook. What asks for an RTC configuration is judged by issued, which knows the
// Node.
func (a *app) observeHook(hook, result string, took time.Duration) {
	a.meters.ObserveHook(hook, result, took)
	if hook != "resolve" && hook != "other" && (result == hooks.ResultOK || result == hooks.ResultRefused) {
		a.broker.now()
	}
}

// issued is told of each Node that is given an RTC configuration.
func (a *app) issued(node string) {
	if node != admin.TestNode && !strings.HasPrefix(node, doctor.NodePrefix) {
		a.broker.now()
	}
}

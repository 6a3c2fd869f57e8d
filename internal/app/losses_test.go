package app

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/embedded/redis"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/losses"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Every cause that a part counts has words of its own.
func TestCausesHaveWords(t *testing.T) {
	r, err := redis.New(redis.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(t.Context())
	stop()
	defer func() { _ = r.Run(running) }() // which ends at once
	g, err := webguard.New(webguard.Config{Key: "admin.listen", Listen: "127.0.0.1:0", Handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	overHTTP := map[string]uint64{}
	for cause := range g.Lost() {
		overHTTP["hooks "+cause], overHTTP["admin "+cause] = 0, 0
	}
	for area, counts := range map[losses.Area]map[string]uint64{
		losses.Connections: turnedAway(turnsrv.StreamStats{}), losses.Datagrams: dropped(relay.Stats{}),
		losses.Broker: notServedByBroker(broker.Stats{}), losses.Redis: refusedByRedis(r.Stats()), losses.HTTP: overHTTP,
		losses.Records: forgotten(nodes.Stats{}),
	} {
		if len(counts) < 2 {
			t.Errorf("%s: only %d causes", area, len(counts))
		}
		for cause := range counts {
			if _, ok := losses.Causes(area)[cause]; !ok {
				t.Errorf("%s %s has no words in package losses", area, cause)
			}
		}
	}
}

// What the policy could not do is counted under causes that have words, tokens that were not checked among them.
func TestUndecided(t *testing.T) {
	counts := undecided(policy.Stats{UpstreamFailures: 1, UpstreamBusy: 2, MessagesDropped: 3, ChecksRefused: 4})
	if !slices.Contains(counts, losses.Count{Area: losses.Tokens, Cause: "unchecked", N: 4}) || len(counts) != 4 {
		t.Errorf("counts %v", counts)
	}
	for _, c := range counts {
		if _, ok := losses.Causes(c.Area)[c.Cause]; !ok || c.N == 0 {
			t.Errorf("%s %s: %d, or it has no words", c.Area, c.Cause, c.N)
		}
	}
}

func TestDid(t *testing.T) {
	got := did(policy.Stats{UpstreamAnswered: 2, MessagesQueued: 3})
	if len(got) != 2 || got["questions answered by the upstream"] != 2 || got["messages waiting now"] != 3 {
		t.Errorf("%v", got)
	}
}

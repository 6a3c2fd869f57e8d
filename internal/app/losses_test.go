package app

import (
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/losses"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Every cause that the data plane counts has words of its own.
func TestCausesHaveWords(t *testing.T) {
	for area, counts := range map[losses.Area]map[string]uint64{
		losses.Connections: turnedAway(turnsrv.StreamStats{}), losses.Datagrams: dropped(relay.Stats{}),
	} {
		if len(counts) < 8 {
			t.Errorf("%s: only %d causes", area, len(counts))
		}
		for cause := range counts {
			if _, ok := losses.Causes(area)[cause]; !ok {
				t.Errorf("%s %s has no words in package losses", area, cause)
			}
		}
	}
}

package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/tally"
)

// Who is connected where is shared by lists, not by joins: a Node that has just joined has a credential of hours, so that the
// others need to know of it long after that.
const (
	whoEvery = 5 // beats
	// whoStays is how long the Nodes of a machine that fell silent count as connected: so do those whose Broker is gone.
	whoStays = 90 * time.Second
	maxWho   = 1 << 20 // Nodes of one machine
	markLen  = len(tally.Mark{})
	// listsOfABeat is how many lists one machine fetches in a beat: of many machines' one after the other.
	listsOfABeat = 16
	forWho       = "who"
	whoKey       = prefix + "who" // a hash: sealed lists by boot id
)

// crowd is the Nodes that are connected at one other machine.
type crowd struct {
	version uint64
	fetched uint64 // when, by position.round
	nodes   map[tally.Mark]struct{}
}

// Connected reports whether a Node is connected to a Broker of another machine, as far as this one has heard: that takes up to
// half a minute, where there are hundreds of machines some minutes. It is quick.
func (f *Fleet) Connected(node string) bool {
	all := f.crowds.Load()
	if all == nil || len(*all) == 0 {
		return false
	}
	m := tally.MarkOf(node)
	for _, c := range *all {
		if _, here := c.nodes[m]; here {
			return true
		}
	}
	return false
}

// ConnectedAt names the other machines at whose Broker a Node is, as far as this one has heard.
func (f *Fleet) ConnectedAt(node string) (names []string) {
	all := f.crowds.Load()
	if all == nil {
		return nil
	}
	m := tally.MarkOf(node)
	f.mu.Lock()
	defer f.mu.Unlock()
	for boot, c := range *all {
		if _, here := c.nodes[m]; here && f.machines[boot] != nil {
			names = append(names, f.machines[boot].said.Name)
		}
	}
	slices.Sort(names)
	return names
}

// tellWho puts the list of this machine's connected Nodes into Redis, if it has changed.
func (f *Fleet) tellWho(ctx context.Context) {
	if f.cfg.Connected == nil {
		return
	}
	if f.at.who++; f.at.who%whoEvery != 1 {
		return
	}
	nodes := f.cfg.Connected()
	nodes = nodes[:min(len(nodes), maxWho)]
	list := make([]byte, 0, len(nodes)*markLen)
	slices.Sort(nodes)
	for _, node := range nodes {
		m := tally.MarkOf(node)
		list = append(list, m[:]...)
	}
	sum := sha256.Sum256(list)
	if f.at.told == sum && f.at.toldIn == f.at.generation {
		return
	}
	version := f.who.Load() + 1
	text := base64.RawStdEncoding.EncodeToString(list)
	sealed := f.ring.Load().Seal(forWho+f.boot, []byte(text))
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.HSet(ctx, whoKey, f.boot, sealed) }) == nil {
		f.who.Store(version) // the next heartbeat says so
		f.at.told, f.at.toldIn = sum, f.at.generation
	}
}

// hearWho fetches the lists of other machines that have changed.
func (f *Fleet) hearWho(ctx context.Context) {
	var old map[string]crowd
	if p := f.crowds.Load(); p != nil {
		old = *p
	}
	next := make(map[string]crowd, len(old))
	var due []string
	f.mu.Lock()
	versions := map[string]uint64{}
	for boot, m := range f.machines {
		if !m.fresh || m.left || f.clock-m.heard > whoStays {
			continue
		}
		versions[boot] = m.said.Who
		if c, known := old[boot]; known {
			next[boot] = c
		}
		if m.said.Who != next[boot].version {
			due = append(due, boot)
		}
	}
	f.mu.Unlock()
	slices.SortFunc(due, func(x, y string) int { return cmp.Compare(next[x].fetched, next[y].fetched) })
	f.at.round++
	for _, boot := range due[:min(len(due), listsOfABeat)] {
		var get *redis.StringCmd
		if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { get = p.HGet(ctx, whoKey, boot) }) != nil {
			break // those that are known go on counting
		}
		if c, ok := f.readWho(boot, get.Val()); ok {
			c.version, c.fetched = versions[boot], f.at.round
			next[boot] = c
		}
	}
	f.crowds.Store(&next)
}

func (f *Fleet) readWho(boot, sealed string) (c crowd, ok bool) {
	if sealed == "" {
		return c, false
	}
	text, ok := f.open(forWho+boot, sealed)
	if !ok {
		return c, false
	}
	list, err := base64.RawStdEncoding.DecodeString(string(text))
	if err != nil || len(list)%markLen != 0 || len(list) > maxWho*markLen {
		f.malformed()
		return c, false
	}
	c.nodes = make(map[tally.Mark]struct{}, len(list)/markLen)
	for m := range slices.Chunk(list, markLen) {
		c.nodes[tally.Mark(m)] = struct{}{}
	}
	return c, true
}

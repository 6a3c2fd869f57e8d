package usage

import (
	"crypto/rand"

	bolt "go.etcd.io/bbolt"
)

// keyLedger is an id of the file, by which other machines tell what it has from what another has: also after this machine was
// restarted, or the file was lost.
var keyLedger = []byte("ledger")

// name gives the file its id, and reads it.
func (s *store) name(tx *bolt.Tx) error {
	about := tx.Bucket(bucketAbout)
	if id := about.Get(keyLedger); len(id) > 0 && len(id) <= 64 {
		s.ledger = string(id)
		return nil
	}
	s.ledger = rand.Text()
	return about.Put(keyLedger, []byte(s.ledger))
}

// Shared is what this machine has counted in a month.
type Shared struct {
	Ledger string // the id of the file; empty while that cannot be used: others should not be told then
	Month  Month
	Bytes  uint64            // of all Nodes
	Nodes  map[string]uint64 // bytes by Node
}

// Share returns what other machines, of which there are so many, have to know of this month: all of it, or what has changed so much
// since the last call that a Node's limit may be reached by it. The nearer the limit, the less has to have changed: machines
// together never have more than half of what is left to tell, so that a limit is noticed as soon as the last of them has told.
// Share is for one goroutine.
func (k *Keeper) Share(machines int, all bool) Shared {
	set, b := k.set.Load(), k.current.Load()
	k.io.Lock()
	s := Shared{Ledger: k.store.ledger, Month: b.month, Bytes: b.total().Bytes()}
	if !b.known {
		s.Ledger = ""
	}
	k.io.Unlock()
	if s.Ledger == "" || set.BytesPerNode == 0 && !all {
		return s
	}
	s.Nodes = map[string]uint64{}
	for i := range b.shards {
		shard := &b.shards[i]
		shard.mu.Lock()
		for node, e := range shard.nodes {
			n := e.Bytes()
			if all || n > e.told && k.matters(set, b.month, node, n, n-e.told, machines) {
				e.told, s.Nodes[node] = n, n
			}
		}
		shard.mu.Unlock()
	}
	return s
}

// matters reports whether what a Node has used since others were told may bring it to its limit.
func (k *Keeper) matters(set *Settings, m Month, node string, here, untold uint64, machines int) bool {
	if untold >= set.BytesPerNode/uint64(2*max(1, machines)) {
		return true // without asking what others have
	}
	known := here - untold + k.cfg.Elsewhere(m, node)
	left := set.BytesPerNode - min(known, set.BytesPerNode)
	return untold >= left/uint64(2*max(1, machines))
}

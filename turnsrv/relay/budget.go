package relay

import "sync/atomic"

// What is charged for, in bytes: measured, and rounded up for the garbage collector's share.
const (
	relayCost      = 8 << 10 // the relay itself, and what the control plane keeps of it
	permissionCost = 192
	channelCost    = 320
)

// Budget bounds what the relays that share it keep in memory, by estimate. Its methods may be called from any
// goroutine. A nil Budget has no bound.
type Budget struct {
	limit, used atomic.Int64
}

// NewBudget makes one of limit bytes; 0 is no bound.
func NewBudget(limit int64) *Budget {
	b := new(Budget)
	b.SetLimit(limit)
	return b
}

// SetLimit replaces the limit. What is kept stays.
func (b *Budget) SetLimit(limit int64) { b.limit.Store(limit) }

// Used is how many bytes are taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Take takes n bytes, or reports false if fewer are left.
func (b *Budget) Take(n int64) bool {
	if b == nil {
		return true
	}
	if used, limit := b.used.Add(n), b.limit.Load(); limit > 0 && used > limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// Give gives n bytes back.
func (b *Budget) Give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

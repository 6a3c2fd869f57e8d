package policy

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks/internal/argon2id"
)

var errArgon = errors.New("argon2id must be followed by $argon2id$v=19$m=…,t=…,p=…$SALT$HASH (PHC string)")

// argonHash is an argon2id hash with its parameters (RFC 9106).
type argonHash struct {
	memory, time uint32 // KiB, passes
	threads      uint8
	salt, hash   []byte
}

// parseArgon reads a PHC string and refuses parameters that would make each check a burden.
func parseArgon(text string) (*argonHash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return nil, errArgon
	}
	h := &argonHash{}
	n, err := fmt.Sscanf(parts[3]+"\n", "m=%d,t=%d,p=%d\n", &h.memory, &h.time, &h.threads)
	if err != nil || n != 3 || parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.time, h.threads) {
		return nil, errArgon
	}
	if h.memory < 8*uint32(h.threads) || h.memory > 256<<10 || h.time < 1 || h.time > 16 || h.threads < 1 || h.threads > 16 {
		return nil, errors.New("argon2id parameters must be m at most 262144 (KiB), t 1 to 16, p 1 to 16")
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return nil, errArgon
	}
	if h.hash, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(h.hash) < 16 || len(h.hash) > 64 {
		return nil, errArgon
	}
	return h, nil
}

// cost is the work that the hash takes, in KiB that are filled.
func (h *argonHash) cost() uint64 { return uint64(h.memory) * uint64(h.time) }

// hasher computes hashes, one at a time, in turns.
type hasher struct {
	*turns
	memory argon2id.Hasher // of whoever has the turn
	pace   atomic.Int64    // nanoseconds that a KiB takes, of late
	log    *slog.Logger
	said   atomic.Int64 // when it was said that too many wait, in Unix seconds
}

// usualPace is how long a KiB takes before one has been measured.
const usualPace = 2000

func newHasher(log *slog.Logger) *hasher {
	h := &hasher{turns: newTurns(), log: log}
	h.pace.Store(usualPace)
	return h
}

// match reports whether token is that of one of the lines; all of them are tried. A refusal takes as long as cost says,
// though no more is computed than must be. undecided: the token could not be tried now.
func (h *hasher) match(ctx context.Context, r Request, token string, lines []*argonHash, cost uint64) (found, undecided bool) {
	if !h.enter(ctx, r.Source, r.Node, len(lines) == 0) {
		h.complain()
		return false, true
	}
	if len(lines) > 0 {
		var err error
		found, err = h.try(ctx, token, lines)
		h.leave()
		if err != nil {
			return false, true
		}
	}
	for _, line := range lines {
		cost -= min(cost, line.cost())
	}
	if cost > 0 && !found {
		pause := time.NewTimer(time.Duration(cost) * time.Duration(h.pace.Load()))
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
			return false, true
		}
	}
	return found, false
}

// complain logs, at most once a minute, that tokens are not checked.
func (h *hasher) complain() {
	now, last := time.Now().Unix(), h.said.Load()
	if now-last >= 60 && h.said.CompareAndSwap(last, now) {
		h.log.Warn("tokens are not checked, since too many wait for argon2id: somebody tries tokens, or use sha256 lines of crolang-aio token new",
			"refused", h.refused.Load())
	}
}

// try computes the hashes. The caller has the turn.
func (h *hasher) try(ctx context.Context, token string, lines []*argonHash) (bool, error) {
	found := 0
	for _, line := range lines {
		start := time.Now()
		p := argon2id.Params{Memory: line.memory, Time: line.time, Lanes: line.threads}
		got, err := h.memory.Hash(ctx, []byte(token), line.salt, p, uint32(len(line.hash)))
		if err != nil {
			return false, err
		}
		found |= subtle.ConstantTimeCompare(got, line.hash)
		took := time.Since(start).Nanoseconds() / int64(line.cost())
		h.pace.Store((7*h.pace.Load() + took) / 8)
	}
	if h.length() == 0 {
		h.memory.Free()
	}
	return found == 1, nil
}

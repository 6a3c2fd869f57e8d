package policy

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

const (
	hashesAtOnce  = 2 // each may take a quarter of a GiB
	hashesWaiting = 64
	hashWait      = 5 * time.Second
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

func (h *argonHash) matches(token string) int {
	got := argon2.IDKey([]byte(token), h.salt, h.time, h.memory, h.threads, uint32(len(h.hash)))
	return subtle.ConstantTimeCompare(got, h.hash)
}

// hasher bounds the hashes that are computed at once and those that wait for it.
type hasher struct {
	slots   chan struct{}
	waiting atomic.Int32
}

func newHasher() *hasher { return &hasher{slots: make(chan struct{}, hashesAtOnce)} }

// enter waits for its turn. False: too many wait, it took too long, or ctx ended.
func (h *hasher) enter(ctx context.Context) bool {
	select {
	case h.slots <- struct{}{}:
		return true
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > hashesWaiting {
		return false
	}
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (h *hasher) leave() { <-h.slots }

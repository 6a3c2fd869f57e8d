package argon2id

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/crypto/argon2"
)

// TestAgainstOthers compares with golang.org/x/crypto and with the reference implementation's own vectors.
func TestAgainstOthers(t *testing.T) {
	var h Hasher
	compare := func(password, salt []byte, p Params, size uint32) {
		t.Helper()
		got, err := h.Hash(t.Context(), password, salt, p, size)
		want := argon2.IDKey(password, salt, p.Time, p.Memory, p.Lanes, size)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v, %d bytes: %x, want %x (%v)", p, size, got, want, err)
		}
	}
	for _, p := range []Params{{8, 1, 1}, {64, 1, 1}, {64, 3, 1}, {64, 2, 2}, {67, 2, 2}, {128, 3, 4}, {1 << 10, 2, 3}, {4 << 10, 1, 16}} {
		for _, size := range []uint32{4, 16, 32, 63, 64, 65, 96, 128, 200} {
			compare([]byte("password"), []byte("somesalt"), p, size)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	some := func(n int) []byte {
		b := make([]byte, random.IntN(n))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for range 50 {
		p := Params{Time: 1 + random.Uint32N(4), Lanes: uint8(1 + random.IntN(8)), Memory: random.Uint32N(700)}
		compare(some(300), some(80), p, 4+random.Uint32N(150))
	}
	got, err := h.Hash(t.Context(), []byte("password"), []byte("somesalt"), Params{Memory: 64 << 10, Time: 2, Lanes: 1}, 32)
	if want := "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"; err != nil || hex.EncodeToString(got) != want {
		t.Errorf("the reference's vector: %x, %v", got, err)
	}
}

func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var h Hasher
	if got, err := h.Hash(ctx, nil, nil, Params{Memory: 256 << 10, Time: 16, Lanes: 4}, 32); got != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%x, %v", got, err)
	}
	if h.Free(); h.memory != nil {
		t.Error("the memory stays")
	}
}

func BenchmarkHash(b *testing.B) {
	var h Hasher
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.Hash(b.Context(), []byte("x"), []byte("0123456789abcdef"), Params{64 << 10, 3, 1}, 32); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("x/crypto", func(b *testing.B) {
		for b.Loop() {
			argon2.IDKey([]byte("x"), []byte("0123456789abcdef"), 3, 64<<10, 1, 32)
		}
	})
}

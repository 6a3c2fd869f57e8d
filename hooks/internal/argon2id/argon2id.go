// Package argon2id computes argon2id hashes (RFC 9106, version 0x13) in the background of a server that has better
// things to do: on one goroutine for any number of lanes, which gives way to others all the time and stops when nobody
// wants the hash any more. golang.org/x/crypto/argon2 takes a core for each lane at once and cannot be stopped.
package argon2id

import (
	"context"
	"encoding/binary"
	"math/bits"
	"runtime"
	"time"

	"golang.org/x/crypto/blake2b"
)

const (
	blockWords = 128 // of 64 bits: 1 KiB
	slices     = 4   // sync points of a pass
	version    = 0x13
	kind       = 2 // argon2id

	yieldEvery = 64   // blocks, some 0.1 ms
	restEvery  = 1024 // blocks: then the network is polled even if there is only one core
	rest       = 20 * time.Microsecond
)

type block [blockWords]uint64

// Params are what a hash costs. They are not checked: Time and Lanes must be at least 1.
type Params struct {
	Memory uint32 // KiB
	Time   uint32 // passes
	Lanes  uint8
}

// Hasher computes one hash at a time. It keeps its memory for the next hash until Free is called. The zero value is
// ready.
type Hasher struct{ memory []block }

// Free lets the memory go.
func (h *Hasher) Free() { h.memory = nil }

// Hash is the hash of a password in size bytes. The error is that of ctx, which ends the work early.
func (h *Hasher) Hash(ctx context.Context, password, salt []byte, p Params, size uint32) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := run{time: p.Time, lanes: uint32(p.Lanes), ctx: ctx}
	r.segment = max(p.Memory/(slices*r.lanes), 2)
	r.lane = slices * r.segment
	total := r.lanes * r.lane
	if uint32(cap(h.memory)) < total {
		h.memory = make([]block, total)
	}
	r.blocks = h.memory[:total]
	r.begin(firstHash(password, salt, p, size))
	for pass := range r.time {
		for slice := range uint32(slices) {
			for lane := range r.lanes {
				if err := r.fill(pass, slice, lane); err != nil {
					return nil, err
				}
			}
		}
	}
	return r.end(size), nil
}

// firstHash is H_0, with room for the two numbers that follow it.
func firstHash(password, salt []byte, p Params, size uint32) []byte {
	var in []byte
	for _, n := range []uint32{uint32(p.Lanes), size, p.Memory, p.Time, version, kind} {
		in = binary.LittleEndian.AppendUint32(in, n)
	}
	for _, part := range [][]byte{password, salt, nil, nil} { // neither a key nor associated data
		in = binary.LittleEndian.AppendUint32(in, uint32(len(part)))
		in = append(in, part...)
	}
	sum := blake2b.Sum512(in)
	return append(sum[:], make([]byte, 8)...)
}

// run is a hash in the making.
type run struct {
	ctx    context.Context //nolint:containedctx // it lives no longer than the call
	blocks []block         // lane by lane
	time   uint32
	lanes  uint32
	lane   uint32 // blocks of a lane
	// segment is how many of them belong to one slice.
	segment uint32
	done    uint32 // blocks since the start
}

// begin makes the first two blocks of each lane.
func (r *run) begin(h0 []byte) {
	var text [8 * blockWords]byte
	for lane := range r.lanes {
		for i := range uint32(2) {
			binary.LittleEndian.PutUint32(h0[blake2b.Size:], i)
			binary.LittleEndian.PutUint32(h0[blake2b.Size+4:], lane)
			longHash(text[:], h0)
			b := &r.blocks[lane*r.lane+i]
			for j := range b {
				b[j] = binary.LittleEndian.Uint64(text[8*j:])
			}
		}
	}
}

// fill makes the blocks of one slice of a lane. Where memory is visited does not depend on the password in the first
// half of the first pass.
func (r *run) fill(pass, slice, lane uint32) error {
	independent := pass == 0 && slice < slices/2
	var addresses, in, zero block
	if independent {
		in = block{uint64(pass), uint64(lane), uint64(slice), uint64(len(r.blocks)), uint64(r.time), kind}
	}
	next := func() {
		in[6]++
		addresses.compress(&in, &zero, false)
		addresses.compress(&addresses, &zero, false)
	}
	first := uint32(0)
	if pass == 0 && slice == 0 {
		first = 2 // begin made those
		next()
	}
	for i := first; i < r.segment; i++ {
		at := slice*r.segment + i
		before := lane*r.lane + (at+r.lane-1)%r.lane
		pseudo := r.blocks[before][0]
		if independent {
			if i%blockWords == 0 {
				next()
			}
			pseudo = addresses[i%blockWords]
		}
		r.blocks[lane*r.lane+at].compress(&r.blocks[before], &r.blocks[r.reference(pseudo, pass, slice, lane, i)], pass > 0)
		if err := r.giveWay(); err != nil {
			return err
		}
	}
	return nil
}

// giveWay lets others run from time to time.
func (r *run) giveWay() error {
	r.done++
	switch {
	case r.done%restEvery == 0:
		time.Sleep(rest)
		return r.ctx.Err()
	case r.done%yieldEvery == 0:
		runtime.Gosched()
	}
	return nil
}

// reference is the place of the block that the i-th block of a segment is mixed with (RFC 9106 §3.4).
func (r *run) reference(pseudo uint64, pass, slice, lane, i uint32) uint32 {
	from := uint32(pseudo>>32) % r.lanes
	if pass == 0 && slice == 0 {
		from = lane
	}
	size, start := 3*r.segment, (slice+1)%slices*r.segment
	if pass == 0 {
		size, start = slice*r.segment, 0
	}
	if from == lane {
		size += i
	}
	if i == 0 || from == lane {
		size--
	}
	x := pseudo & 0xffffffff
	x = x * x >> 32
	x = x * uint64(size) >> 32
	return from*r.lane + uint32((uint64(start)+uint64(size)-1-x)%uint64(r.lane))
}

// end mixes the lanes.
func (r *run) end(size uint32) []byte {
	last := r.blocks[r.lane-1]
	for lane := uint32(1); lane < r.lanes; lane++ {
		for i, v := range r.blocks[lane*r.lane+r.lane-1] {
			last[i] ^= v
		}
	}
	var text [8 * blockWords]byte
	for i, v := range last {
		binary.LittleEndian.PutUint64(text[8*i:], v)
	}
	out := make([]byte, size)
	longHash(out, text[:])
	return out
}

// longHash is H' (RFC 9106 §3.3): BLAKE2b of any length.
func longHash(out, in []byte) {
	in = append(binary.LittleEndian.AppendUint32(nil, uint32(len(out))), in...)
	if len(out) <= blake2b.Size {
		copy(out, sum(len(out), in))
		return
	}
	v := sum(blake2b.Size, in)
	for len(out) > blake2b.Size {
		out = out[copy(out, v[:blake2b.Size/2]):]
		v = sum(min(blake2b.Size, len(out)), v)
	}
	copy(out, v)
}

func sum(size int, in []byte) []byte {
	h, err := blake2b.New(size, nil)
	if err != nil {
		panic(err) // only a size that is none of BLAKE2b's does it
	}
	h.Write(in)
	return h.Sum(nil)
}

// compress makes b the compression of x and y (RFC 9106 §3.5), added to what b was if add is set. b may be x or y.
func (b *block) compress(x, y *block, add bool) {
	var r, z block
	for i := range r {
		r[i] = x[i] ^ y[i]
	}
	z = r
	for i := 0; i < blockWords; i += 16 {
		permute(&z, i, i+1, i+2, i+3, i+4, i+5, i+6, i+7, i+8, i+9, i+10, i+11, i+12, i+13, i+14, i+15)
	}
	for i := 0; i < 16; i += 2 {
		permute(&z, i, i+1, i+16, i+17, i+32, i+33, i+48, i+49, i+64, i+65, i+80, i+81, i+96, i+97, i+112, i+113)
	}
	if !add {
		for i := range b {
			b[i] = r[i] ^ z[i]
		}
		return
	}
	for i := range b {
		b[i] ^= r[i] ^ z[i]
	}
}

// permute is P (RFC 9106 §3.6): a round of BLAKE2b with multiplications.
func permute(z *block, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p int) {
	z[a], z[e], z[i], z[m] = mix(z[a], z[e], z[i], z[m])
	z[b], z[f], z[j], z[n] = mix(z[b], z[f], z[j], z[n])
	z[c], z[g], z[k], z[o] = mix(z[c], z[g], z[k], z[o])
	z[d], z[h], z[l], z[p] = mix(z[d], z[h], z[l], z[p])
	z[a], z[f], z[k], z[p] = mix(z[a], z[f], z[k], z[p])
	z[b], z[g], z[l], z[m] = mix(z[b], z[g], z[l], z[m])
	z[c], z[h], z[i], z[n] = mix(z[c], z[h], z[i], z[n])
	z[d], z[e], z[j], z[o] = mix(z[d], z[e], z[j], z[o])
}

func mix(a, b, c, d uint64) (_, _, _, _ uint64) {
	a += b + 2*uint64(uint32(a))*uint64(uint32(b))
	d = bits.RotateLeft64(d^a, -32)
	c += d + 2*uint64(uint32(c))*uint64(uint32(d))
	b = bits.RotateLeft64(b^c, -24)
	a += b + 2*uint64(uint32(a))*uint64(uint32(b))
	d = bits.RotateLeft64(d^a, -16)
	c += d + 2*uint64(uint32(c))*uint64(uint32(d))
	b = bits.RotateLeft64(b^c, -63)
	return a, b, c, d
}

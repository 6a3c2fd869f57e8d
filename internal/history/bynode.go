package history

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// maxCells bounds what is remembered of all Nodes together, to some 4 MB: beyond it those go that have relayed nothing for the longest.
const maxCells = 250_000

// cell is what one Node relayed in a minute or an hour. There is none where it relayed nothing.
type cell struct {
	Slot    uint32
	In, Out float32 // bytes
}

// track is what is remembered of one Node, the oldest first.
type track struct{ minutes, hours []cell }

func (t *track) cells() int { return len(t.minutes) + len(t.hours) }

// last is the minute in which the Node relayed last.
func (t *track) last() uint32 {
	if len(t.minutes) == 0 {
		return 0
	}
	return t.minutes[len(t.minutes)-1].Slot
}

// byNode is what single Nodes relayed.
type byNode struct {
	mu      sync.Mutex
	most    int // cells
	cells   int
	tracks  map[string]*track
	changed bool // since it was written
}

func (b *byNode) add(node string, now time.Time, in, out uint64) {
	if in == 0 && out == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed = true
	t := b.tracks[node]
	if t == nil {
		t = &track{}
		b.tracks[strings.Clone(node)] = t
	}
	b.cells -= t.cells()
	t.minutes = enter(t.minutes, Minutes, cell{slotOf(now, time.Minute), float32(in), float32(out)})
	t.hours = enter(t.hours, Hours, cell{slotOf(now, time.Hour), float32(in), float32(out)})
	b.cells += t.cells()
	if b.cells > b.most {
		b.makeRoom()
	}
}

// enter adds to the cell of its time, and drops those that are older than most steps, or in the future of a clock that was set back.
func enter(list []cell, most int, c cell) []cell {
	for len(list) > 0 && list[len(list)-1].Slot > c.Slot {
		list = list[:len(list)-1]
	}
	old := 0
	for old < len(list) && list[old].Slot+uint32(most) <= c.Slot {
		old++
	}
	if old > 0 {
		list = slices.Delete(list, 0, old)
	}
	if n := len(list); n > 0 && list[n-1].Slot == c.Slot {
		list[n-1].In += c.In
		list[n-1].Out += c.Out
		return list
	}
	return append(list, c)
}

// makeRoom forgets the Nodes that relayed nothing for the longest, until a tenth is free.
func (b *byNode) makeRoom() {
	type age struct {
		node string
		last uint32
	}
	all := make([]age, 0, len(b.tracks))
	for node, t := range b.tracks {
		all = append(all, age{node, t.last()})
	}
	slices.SortFunc(all, func(x, y age) int { return cmp.Compare(x.last, y.last) })
	for _, a := range all {
		if b.cells <= b.most-b.most/10 {
			return
		}
		b.remove(a.node)
	}
}

// remove forgets a Node, and reports whether anything was known.
func (b *byNode) remove(node string) bool {
	t := b.tracks[node]
	if t == nil {
		return false
	}
	b.cells -= t.cells()
	delete(b.tracks, node)
	b.changed = true
	return true
}

// Relayed counts what a Node has relayed lately: from it to its peers, and back. It is quick, and waits for no disk.
func (k *Keeper) Relayed(node string, in, out uint64) { k.nodes.add(node, k.cfg.Now(), in, out) }

// Forget forgets what a Node relayed, at the disk within a minute, and reports whether anything was known.
func (k *Keeper) Forget(node string) bool {
	k.nodes.mu.Lock()
	defer k.nodes.mu.Unlock()
	return k.nodes.remove(node)
}

// Of is [Keeper.Series] of one Node. What it relayed is counted with the headers of IP and UDP.
func (k *Keeper) Of(node string, byHour bool) Series {
	s := k.Series(byHour)
	k.mu.Lock()
	ring := k.mem.Minutes[:]
	if byHour {
		ring = k.mem.Hours[:]
	}
	last := slotOf(s.Until, s.Step)
	ran := make([]point, len(s.In))
	for i := range ran {
		ran[i] = ring[(last-uint32(len(ran)-1-i))%uint32(len(ring))]
	}
	k.mu.Unlock()
	k.nodes.mu.Lock()
	defer k.nodes.mu.Unlock()
	cells := map[uint32]cell{}
	if t := k.nodes.tracks[node]; t != nil {
		list := t.minutes
		if byHour {
			list = t.hours
		}
		for _, c := range list {
			cells[c.Slot] = c
		}
	}
	for i := range s.In {
		if s.In[i] == nil {
			continue
		}
		c := cells[last-uint32(len(s.In)-1-i)]
		s.In[i], s.Out[i] = ran[i].rate(uint64(c.In)), ran[i].rate(uint64(c.Out))
	}
	return s
}

// The file is a line that says what it is; for each Node the length of its id, the numbers of its cells, the id and the cells, in
// big-endian; and the CRC-32 of all that.
const nodesMagic = "crolang-aio history of Nodes 1\n"

var errNodes = errors.New("it is not what this version writes, or damaged")

func (b *byNode) encode() []byte {
	out := []byte(nodesMagic)
	for node, t := range b.tracks {
		out = binary.BigEndian.AppendUint16(out, uint16(len(node)))
		out = binary.BigEndian.AppendUint16(out, uint16(len(t.minutes)))
		out = binary.BigEndian.AppendUint16(out, uint16(len(t.hours)))
		out = append(out, node...)
		for _, list := range [][]cell{t.minutes, t.hours} {
			out, _ = binary.Append(out, binary.BigEndian, list) // of fixed size, to memory
		}
	}
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

// parse reads what encode wrote. With an error nothing has changed.
func (b *byNode) parse(data []byte) error {
	body, ok := bytes.CutPrefix(data, []byte(nodesMagic))
	if !ok || len(body) < 4 || crc32.ChecksumIEEE(data[:len(data)-4]) != binary.BigEndian.Uint32(data[len(data)-4:]) {
		return errNodes
	}
	const size = 12
	tracks, cells := map[string]*track{}, 0
	for body = body[:len(body)-4]; len(body) > 0; {
		if len(body) < 6 {
			return errNodes
		}
		id, minutes, hours := int(binary.BigEndian.Uint16(body)), int(binary.BigEndian.Uint16(body[2:])), int(binary.BigEndian.Uint16(body[4:]))
		body = body[6:]
		if minutes > Minutes || hours > Hours || len(body) < id+size*(minutes+hours) {
			return errNodes
		}
		node, t := string(body[:id]), &track{minutes: make([]cell, minutes), hours: make([]cell, hours)}
		body = body[id:]
		if nodeid.Valid(node) != nil || tracks[node] != nil {
			return errNodes
		}
		for _, list := range [][]cell{t.minutes, t.hours} {
			n, err := binary.Decode(body, binary.BigEndian, list)
			if err != nil || !slices.IsSortedFunc(list, func(x, y cell) int { return cmp.Compare(x.Slot, y.Slot) }) {
				return errNodes
			}
			body = body[n:]
		}
		tracks[node], cells = t, cells+t.cells()
	}
	b.tracks, b.cells = tracks, cells
	return nil
}

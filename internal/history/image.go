package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// maxStarts is how many starts are remembered.
const maxStarts = 64

// image is what is remembered, in memory and in the file. A ring's place is a slot's number by its size.
type image struct {
	Starts  [maxStarts]int64 // Unix seconds, the oldest first, 0 before
	Minutes [Minutes]point
	Hours   [Hours]point
}

// point is what was relayed in a minute or an hour.
type point struct {
	Slot    uint32 // minutes or hours since 1970
	Millis  uint32 // in which the server ran
	In, Out uint64 // bytes
}

func slotOf(t time.Time, step time.Duration) uint32 {
	return uint32(max(0, t.Unix()) / int64(step/time.Second))
}

func add(ring []point, slot uint32, more point) {
	p := &ring[slot%uint32(len(ring))]
	if p.Slot != slot {
		*p = point{Slot: slot}
	}
	p.Millis += more.Millis
	p.In += more.In
	p.Out += more.Out
}

// series reads a ring, the oldest slot first. What a clock that was ahead has left in the future is not in it.
func series(ring []point, now time.Time, step time.Duration) Series {
	s := Series{Step: step, Until: now.UTC()}
	last := slotOf(now, step)
	for i := range ring {
		slot := last - uint32(len(ring)-1-i)
		p := ring[slot%uint32(len(ring))]
		if p.Slot != slot || p.Millis == 0 {
			s.In, s.Out = append(s.In, nil), append(s.Out, nil)
			continue
		}
		s.In, s.Out = append(s.In, p.rate(p.In)), append(s.Out, p.rate(p.Out))
	}
	return s
}

func (p point) rate(n uint64) *uint64 {
	r := uint64(float64(n) / float64(p.Millis) * 1000)
	return &r
}

// began notes a start.
func (m *image) began(now time.Time) {
	copy(m.Starts[:], m.Starts[1:])
	m.Starts[maxStarts-1] = now.Unix()
}

// The file is a line that says what it is, the image in big-endian, and the CRC-32 of both.
const magic = "crolang-aio history 1\n"

func (m *image) encode() []byte {
	var b bytes.Buffer
	b.WriteString(magic)
	_ = binary.Write(&b, binary.BigEndian, m) // of fixed size, to memory
	return binary.BigEndian.AppendUint32(b.Bytes(), crc32.ChecksumIEEE(b.Bytes()))
}

// parse reads what encode wrote. With an error nothing has changed.
func (m *image) parse(data []byte) error {
	if len(data) != len(magic)+binary.Size(m)+4 || string(data[:len(magic)]) != magic {
		return errors.New("it is not what this version writes")
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return errors.New("it is damaged")
	}
	var read image
	if err := binary.Read(bytes.NewReader(body[len(magic):]), binary.BigEndian, &read); err != nil {
		return err
	}
	*m = read
	return nil
}

package usage

import (
	"encoding/binary"
	"errors"
	"time"
)

// Record is what was used in one month.
type Record struct {
	Up, Down    uint64        // bytes relayed from clients to peers and back, as on the wire
	Time        time.Duration // that allocations spent relaying, all of them added up, to the millisecond
	Allocations uint64        // opened
	Messages    uint64        // sent to other Nodes through a Broker
}

// Bytes are those of both ways, which count for limits.
func (r Record) Bytes() uint64 { return r.Up + r.Down }

func (r *Record) add(o Record) {
	r.Up += o.Up
	r.Down += o.Down
	r.Time += o.Time
	r.Allocations += o.Allocations
	r.Messages += o.Messages
}

// recordFormat begins every record in the file.
const recordFormat = 1

var errRecord = errors.New("a record cannot be read")

// encode appends the record as it is kept.
func (r Record) encode(b []byte) []byte {
	b = append(b, recordFormat)
	for _, n := range [...]uint64{r.Up, r.Down, uint64(r.Time.Milliseconds()), r.Allocations, r.Messages} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// decode reads what encode wrote, and nothing else.
func decode(b []byte) (r Record, err error) {
	if len(b) == 0 || b[0] != recordFormat {
		return r, errRecord
	}
	b = b[1:]
	var n [5]uint64
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return r, errRecord
		}
		n[i], b = v, b[size:]
	}
	if len(b) > 0 || n[2] > 1<<53 {
		return r, errRecord
	}
	return Record{Up: n[0], Down: n[1], Time: time.Duration(n[2]) * time.Millisecond, Allocations: n[3], Messages: n[4]}, nil
}

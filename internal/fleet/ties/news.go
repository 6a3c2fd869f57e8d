package ties

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/tally"
)

// Pair is two Nodes that may talk, in either direction, and when a Broker was last told so.
type Pair struct {
	A, B tally.Mark
	At   int64 // seconds since 1970
}

// Sighting is a Node that was met at an address, and when.
type Sighting struct {
	Addr netip.Addr
	Node tally.Mark
	At   int64 // seconds since 1970
}

// Relay is a relayed transport address and the Node that has it.
type Relay struct {
	At   netip.AddrPort
	Node tally.Mark
}

// News is what one machine says to the others: what is new, or all that it knows itself.
type News struct {
	Pairs  []Pair
	Seen   []Sighting
	Opened []Relay
	Ended  []netip.AddrPort // of relays
}

// The sizes of what Encode writes.
const (
	markSize = len(tally.Mark{})
	addrSize = 16
	portSize = addrSize + 2
)

// Encode writes it: of each kind the number, and entries of one length.
func (n News) Encode() []byte {
	var b []byte
	b = binary.AppendUvarint(b, uint64(len(n.Pairs)))
	for _, p := range n.Pairs {
		b = binary.BigEndian.AppendUint64(append(append(b, p.A[:]...), p.B[:]...), uint64(p.At))
	}
	b = binary.AppendUvarint(b, uint64(len(n.Seen)))
	for _, s := range n.Seen {
		b = binary.BigEndian.AppendUint64(append(appendAddr(b, s.Addr), s.Node[:]...), uint64(s.At))
	}
	b = binary.AppendUvarint(b, uint64(len(n.Opened)))
	for _, r := range n.Opened {
		b = append(appendPort(b, r.At), r.Node[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(n.Ended)))
	for _, a := range n.Ended {
		b = appendPort(b, a)
	}
	return b
}

func appendAddr(b []byte, ip netip.Addr) []byte {
	a := ip.As16()
	return append(b, a[:]...)
}

func appendPort(b []byte, a netip.AddrPort) []byte {
	return binary.BigEndian.AppendUint16(appendAddr(b, a.Addr()), a.Port())
}

// ErrNews is returned for what Encode did not write.
var ErrNews = errors.New("not news of Nodes and relays")

// Decode reads what Encode wrote.
func Decode(b []byte) (n News, err error) {
	r := reader{b: b}
	for range r.count(2*markSize + 8) {
		n.Pairs = append(n.Pairs, Pair{r.mark(), r.mark(), r.time()})
	}
	for range r.count(addrSize + markSize + 8) {
		n.Seen = append(n.Seen, Sighting{r.addr(), r.mark(), r.time()})
	}
	for range r.count(portSize + markSize) {
		n.Opened = append(n.Opened, Relay{r.port(), r.mark()})
	}
	for range r.count(portSize) {
		n.Ended = append(n.Ended, r.port())
	}
	if r.wrong || len(r.b) > 0 {
		return News{}, ErrNews
	}
	return n, nil
}

// reader reads entries of which count has made sure that they are there.
type reader struct {
	b     []byte
	wrong bool
}

// count reads a number of entries of the given size.
func (r *reader) count(size int) uint64 {
	n, used := binary.Uvarint(r.b)
	if r.wrong = r.wrong || used <= 0 || n > uint64(len(r.b)-used)/uint64(size); r.wrong {
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reader) take(n int) []byte {
	got := r.b[:n]
	r.b = r.b[n:]
	return got
}

func (r *reader) mark() tally.Mark { return tally.Mark(r.take(markSize)) }
func (r *reader) time() int64      { return int64(binary.BigEndian.Uint64(r.take(8))) }
func (r *reader) addr() netip.Addr { return netip.AddrFrom16([addrSize]byte(r.take(addrSize))).Unmap() }
func (r *reader) port() netip.AddrPort {
	return netip.AddrPortFrom(r.addr(), binary.BigEndian.Uint16(r.take(2)))
}

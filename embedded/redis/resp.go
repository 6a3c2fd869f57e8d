package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
)

const (
	// maxHeader bounds "*1024\r\n" and "$33554432\r\n".
	maxHeader = 24
	// smallArg is allocated at once; what is longer grows as it arrives, so that a length alone costs nothing.
	smallArg = 16 << 10
	// bufferFactor times the longest command is the room for all clients' buffers.
	bufferFactor = 8
)

// Before AUTH a command is short (limits as in Redis).
var strangersLimits = limits{args: 10, bytes: 16 << 10}

// limits of one command.
type limits struct {
	args  int // with the command's name
	bytes int // of all arguments
}

// protocolError ends a connection, and tells the client why.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// budget is memory that all clients share.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.max {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(int64(-n)) }

// reader parses commands: arrays of bulk strings. Inline commands are refused: no client library sends them, and a
// browser that posts to this port would.
type reader struct {
	r       *bufio.Reader
	room    func(n int) bool // takes of buffers
	buffers *budget
	taken   int // of buffers, for the command that was read last
}

// read returns the next command; no arguments at all for an empty array, which Redis ignores. The arguments are the
// caller's; release is due after use.
func (r *reader) read(lim limits) ([][]byte, error) {
	n, err := r.header('*', lim.args, "too many arguments")
	if err != nil || n <= 0 {
		return nil, err
	}
	args := make([][]byte, 0, min(n, 8))
	left := lim.bytes
	for range n {
		size, err := r.header('$', left, "command too long")
		if err != nil {
			return nil, err
		}
		if size < 0 {
			return nil, protocolError("invalid bulk length")
		}
		left -= size
		arg, err := r.body(size)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return args, nil
}

// release gives back what the last command took.
func (r *reader) release() {
	r.buffers.give(r.taken)
	r.taken = 0
}

// header reads a line: kind, a number not above most, CRLF. -1 is let through.
func (r *reader) header(kind byte, most int, tooMany string) (int, error) {
	first, err := r.r.ReadByte()
	if err != nil {
		return 0, err
	}
	if first != kind {
		return 0, protocolError(fmt.Sprintf("expected '%c', got %s", kind, strconv.QuoteToASCII(string(rune(first)))))
	}
	var line [maxHeader]byte
	for n := 0; n < len(line); n++ {
		b, err := r.r.ReadByte()
		if err != nil {
			return 0, midway(err)
		}
		if b != '\r' {
			if b != '-' && (b < '0' || b > '9') {
				break
			}
			line[n] = b
			continue
		}
		if b, err = r.r.ReadByte(); err != nil {
			return 0, midway(err)
		}
		if b != '\n' {
			break
		}
		return number(line[:n], most, tooMany)
	}
	return 0, protocolError("invalid length")
}

func number(text []byte, most int, tooMany string) (int, error) {
	if string(text) == "-1" {
		return -1, nil
	}
	if len(text) == 0 {
		return 0, protocolError("invalid length")
	}
	n := 0
	for _, c := range text {
		if c == '-' {
			return 0, protocolError("invalid length")
		}
		if n = 10*n + int(c-'0'); n > most {
			return 0, protocolError(tooMany)
		}
	}
	return n, nil
}

// body reads size bytes and CRLF.
func (r *reader) body(size int) ([]byte, error) {
	b := make([]byte, min(size, smallArg))
	for have := 0; ; {
		if _, err := io.ReadFull(r.r, b[have:]); err != nil {
			return nil, midway(err)
		}
		if have = len(b); have == size {
			break
		}
		next := min(size, 4*have)
		if !r.room(next - have) {
			return nil, protocolError("out of buffer memory, other clients send or are sent too much")
		}
		r.taken += next - have
		b = append(make([]byte, 0, next), b...)[:next]
	}
	var end [2]byte
	if _, err := io.ReadFull(r.r, end[:]); err != nil {
		return nil, midway(err)
	}
	if end != [2]byte{'\r', '\n'} {
		return nil, protocolError("a bulk string does not end where it should")
	}
	return b, nil
}

// midway: an end inside a command is not a proper end.
func midway(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Replies are appended to a buffer; RESP3 differs if a parameter says so.

func appendError(b []byte, text string) []byte {
	b = append(append(b, '-'), text...)
	return append(b, '\r', '\n')
}

func appendSimple(b []byte, text string) []byte {
	b = append(append(b, '+'), text...)
	return append(b, '\r', '\n')
}

func appendInt(b []byte, n int64) []byte { return appendHeader(b, ':', n) }

func appendArray(b []byte, n int) []byte { return appendHeader(b, '*', int64(n)) }

func appendHeader(b []byte, kind byte, n int64) []byte {
	b = strconv.AppendInt(append(b, kind), n, 10)
	return append(b, '\r', '\n')
}

func appendBulk[T string | []byte](b []byte, s T) []byte {
	b = appendHeader(b, '$', int64(len(s)))
	b = append(b, s...)
	return append(b, '\r', '\n')
}

func appendNull(b []byte, resp3 bool) []byte {
	if resp3 {
		return append(b, "_\r\n"...)
	}
	return append(b, "$-1\r\n"...)
}

// appendPush starts a message that is no reply.
func appendPush(b []byte, n int, resp3 bool) []byte {
	if resp3 {
		return appendHeader(b, '>', int64(n))
	}
	return appendArray(b, n)
}

// appendMap starts n pairs.
func appendMap(b []byte, n int, resp3 bool) []byte {
	if resp3 {
		return appendHeader(b, '%', int64(n))
	}
	return appendArray(b, 2*n)
}

package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

// Query is what Page looks for. The zero value takes every entry.
type Query struct {
	Since  time.Time // not before
	Before uint64    // only entries with a smaller number; 0: all
	Node   string    // only about this Node
	What   []What    // only these; none: all
	Limit  int       // at most so many; 0: all
}

func (q *Query) takes(e *Entry) bool {
	if q.Before != 0 && e.N >= q.Before || q.Node != "" && e.Node != q.Node || e.Time.Before(q.Since) {
		return false
	}
	return len(q.What) == 0 || slices.Contains(q.What, e.What)
}

// Page is a part of the log.
type Page struct {
	Entries []Entry // the newest first
	More    bool    // there are older ones that fit too
}

// Page reads the newest entries that fit, which takes milliseconds. Entries that the disk has not taken yet are among them; lines
// that cannot be read are not.
func (l *Log) Page(q Query) (Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := Page{Entries: []Entry{}}
	if p.collect(bytes.Join(l.wait, nil), &q) {
		return p, nil
	}
	for _, path := range []string{l.path, l.earlier} {
		data, err := readMost(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("the audit log %s cannot be read: %w", path, durable.Bare(err))
		}
		if p.collect(data, &q) {
			break
		}
	}
	return p, nil
}

// readMost reads a file of ours, whose size nothing but ourselves should have changed: no more than it may have.
func readMost(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 2*fileBytes))
}

// collect adds the entries of lines that fit, from the end, and reports whether there is no need to look further.
func (p *Page) collect(lines []byte, q *Query) (done bool) {
	for len(lines) > 0 {
		lines = lines[:len(lines)-1] // the line's end
		start := bytes.LastIndexByte(lines, '\n') + 1
		var e Entry
		err := json.Unmarshal(lines[start:], &e)
		lines = lines[:start]
		if err != nil || !q.takes(&e) {
			continue
		}
		if q.Limit > 0 && len(p.Entries) == q.Limit {
			p.More = true
			return true
		}
		p.Entries = append(p.Entries, e)
	}
	return false
}

package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	logPatience = time.Second // how long a record may hold up the one who logs it
	logPending  = 256 << 10   // bytes of records that are kept for what reads the log
)

// patient writes to what may stop taking for a while, such as a pipe whose reader hangs. A write is waited for up to a
// second; from then on, until that write has ended, records are kept up to a limit and then dropped, so that neither clients nor
// the end of the process wait for whoever reads the log. It may be used from several goroutines, and has one itself only
// while something is being written.
type patient struct {
	to io.Writer

	mu      sync.Mutex
	writing bool
	pending bytes.Buffer
	dropped int // records
}

// Write never fails: there is no other place to say it.
func (p *patient) Write(record []byte) (int, error) {
	p.mu.Lock()
	switch {
	case !p.writing:
		p.writing = true
	case p.pending.Len()+len(record) > logPending:
		p.dropped++
		p.mu.Unlock()
		return len(record), nil
	default:
		p.pending.Write(record)
		p.mu.Unlock()
		return len(record), nil
	}
	p.mu.Unlock()
	written := make(chan struct{})
	go func(b []byte) {
		defer close(written)
		for b != nil {
			_, _ = p.to.Write(b)
			b = p.next()
		}
	}(bytes.Clone(record))
	late := time.NewTimer(logPatience)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
	}
	return len(record), nil
}

// next is what has come meanwhile; nil: nothing, and the writing is over.
func (p *patient) next() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending.Len() == 0 {
		p.writing = false
		return nil
	}
	b := bytes.Clone(p.pending.Bytes())
	p.pending.Reset()
	return b
}

// lost is how many records were dropped since it was asked last, when what takes them takes them again.
func (p *patient) lost() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing {
		return 0
	}
	n, p.dropped = p.dropped, 0
	return n
}

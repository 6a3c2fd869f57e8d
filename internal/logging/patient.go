package logging

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	patience   = time.Second // how long a record may hold up whoever logs it
	maxPending = 256 << 10   // bytes of records kept while a write is stuck
)

// patient writes to something that may stop taking data, such as a pipe whose reader hangs. It waits up to a second for a
// write; until a write that takes longer has ended, it keeps further records up to a limit and drops the rest. So neither
// clients nor the end of the process ever wait for whoever reads the log. It is safe for concurrent use, and runs a
// goroutine only while something is being written.
type patient struct {
	to io.Writer

	mu      sync.Mutex
	writing bool
	pending bytes.Buffer
	dropped int // records
}

// Write never fails: there is nowhere else to report it.
func (p *patient) Write(record []byte) (int, error) {
	p.mu.Lock()
	switch {
	case !p.writing:
		p.writing = true
	case p.pending.Len()+len(record) > maxPending:
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
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
	}
	return len(record), nil
}

// next returns what has come in meanwhile, or nil if there is nothing and the writing is over.
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

// lost returns the number of records dropped since the last call. It is 0 while a write is stuck, so that the loss is
// reported once, when it can be read.
func (p *patient) lost() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing {
		return 0
	}
	n, p.dropped = p.dropped, 0
	return n
}

// Package audit keeps who changed what on a running server: a line of JSON for each change, in data_dir/audit.jsonl, and when that
// has grown to 4 MB in audit.1.jsonl before it, so that 8 MB are the most that it takes.
//
// What it promises: an entry is with the operating system when [Log.Note] returns, so that no end of the process loses it, and is
// brought to the disk a moment later by [Log.Run]. What the disk does not take is kept in memory and tried again; what has to be
// given up is counted, and shows as a gap in the numbers of the entries. No change fails with the log.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// The names of the files.
const (
	FileName    = "audit.jsonl"
	EarlierName = "audit.1.jsonl"
)

const (
	fileBytes  = 4 << 20 // of one file, when the next is begun
	waitBytes  = 1 << 20 // of entries that the disk has not taken
	textBytes  = 1024    // of each text of an entry
	retryEvery = 5 * time.Second
)

// What was changed, or was to be.
type What string

// The changes.
const (
	Ban             What = "ban"
	Unban           What = "unban"
	Forget          What = "forget"
	CloseAllocation What = "close-allocation"
	TestLink        What = "test-link"
	TestCredential  What = "test-credential" // for the dashboard's own test
	Drain           What = "drain"
	Reload          What = "reload"
)

// Known are all of them.
func Known() []What {
	return []What{Ban, Unban, Forget, CloseAllocation, TestLink, TestCredential, Drain, Reload}
}

// Entry is one change, or a try at one.
type Entry struct {
	N       uint64    `json:"n"` // counts up by one; a gap says that entries are lost
	Time    time.Time `json:"time"`
	What    What      `json:"what"`
	Node    string    `json:"node,omitempty"`    // whom it is about
	Reason  string    `json:"reason,omitempty"`  // as whoever changed it gave it
	Detail  string    `json:"detail,omitempty"`  // what else there is to say, in words
	By      string    `json:"by"`                // the key of the token that came with it, "no token", a signal, or "files": those of the configuration
	Via     string    `json:"via,omitempty"`     // dashboard, command or api, as the caller says itself
	From    string    `json:"from,omitempty"`    // address of the caller, or of the proxy in front
	Refused string    `json:"refused,omitempty"` // why nothing was changed; empty: it was
}

// Config is what Open needs.
type Config struct {
	DataDir string
	// Found is called with what is wrong with the file, and with nothing when it is in order again. May be nil.
	Found  func(now []findings.Finding)
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
}

// Log is the open log. Its methods may be called from any goroutine.
type Log struct {
	cfg           Config
	path, earlier string
	limit         int64
	dirty         chan struct{} // something has to be brought to the disk

	mu     sync.Mutex
	file   *os.File // nil: it could not be opened again
	size   int64
	last   uint64   // number of the newest entry
	wait   [][]byte // lines that the disk has not taken, the oldest first
	waits  int      // bytes of them
	lost   uint64
	failed bool // there is a finding
	closed bool
}

// Open opens the log, or begins one. The caller calls Run, and Close at the end. A line that a power cut has left half is kept, and
// skipped by whoever reads.
func Open(cfg Config) (*Log, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("audit: no data directory given")
	}
	if cfg.Found == nil {
		cfg.Found = func([]findings.Finding) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		cfg: cfg, path: filepath.Join(cfg.DataDir, FileName), earlier: filepath.Join(cfg.DataDir, EarlierName), limit: fileBytes,
		dirty: make(chan struct{}, 1),
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("the audit log %s cannot be opened: %w", l.path, durable.Bare(err))
	}
	page, err := l.Page(Query{Limit: 1})
	if err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	if len(page.Entries) > 0 {
		l.last = page.Entries[0].N
	}
	return l, nil
}

// open opens the file to append to it, and ends the line that a crash has left half.
func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_ = f.Chmod(0o600) // it may have come from elsewhere
	l.file, l.size = f, st.Size()
	var end [1]byte
	if l.size == 0 {
		return nil
	}
	if _, err := f.ReadAt(end[:], l.size-1); err == nil && end[0] != '\n' {
		if n, err := f.Write([]byte{'\n'}); err == nil {
			l.size += int64(n)
		}
	}
	return nil
}

// Note adds an entry: N and Time are set here, and long texts cut. It never fails, see the package.
func (l *Log) Note(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.N, e.Time = l.last, l.cfg.Now().UTC()
	for _, text := range []*string{&e.Node, &e.Reason, &e.Detail, &e.By, &e.Via, &e.From, &e.Refused} {
		*text = short(*text)
	}
	line, err := json.Marshal(e)
	if err != nil || l.closed { // a time that JSON cannot say, or a change after the end
		l.lost++
		return
	}
	line = append(line, '\n')
	for len(l.wait) > 0 && l.waits+len(line) > waitBytes {
		l.waits -= len(l.wait[0])
		l.wait = l.wait[1:]
		l.lost++
	}
	l.wait, l.waits = append(l.wait, line), l.waits+len(line)
	l.write()
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

// write brings what waits into the file. l.mu is held.
func (l *Log) write() {
	for len(l.wait) > 0 {
		if err := l.append(l.wait[0]); err != nil {
			l.found(err)
			return
		}
		l.waits -= len(l.wait[0])
		l.wait = l.wait[1:]
	}
	l.found(nil)
}

func (l *Log) append(line []byte) error {
	if l.file == nil || l.size > 0 && l.size+int64(len(line)) > l.limit {
		if err := l.turnOver(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	if err == nil {
		l.size += int64(n)
		return nil
	}
	if n > 0 { // half a line, which must not run into the next one
		if errCut := l.file.Truncate(l.size); errCut != nil {
			_ = l.file.Close()
			l.file = nil // to be opened again, which ends the line
		}
	}
	return err
}

// turnOver begins the next file, or opens the present one again.
func (l *Log) turnOver() error {
	if l.file != nil {
		_ = l.file.Sync() // a disk that fails says so again at the next entry
		_ = l.file.Close()
		l.file = nil
		if err := os.Rename(l.path, l.earlier); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.open()
}

// found says what is wrong, once, or that nothing is any longer. l.mu is held.
func (l *Log) found(err error) {
	if err == nil && !l.failed {
		return
	}
	l.failed = err != nil
	if err == nil {
		l.cfg.Found(nil)
		return
	}
	l.cfg.Found([]findings.Finding{{
		ID:     "audit.file",
		Detail: fmt.Sprintf("the audit log cannot be written: %v; what it lacks is in memory, and a restart would lose it", durable.Bare(err)),
		Remedy: "make room in data_dir, or see who may write there; nothing has to be restarted",
	}})
}

// Run brings entries to the disk, and tries again what it did not take, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.dirty:
			l.sync()
		case <-tick.C:
			l.mu.Lock()
			l.write()
			l.mu.Unlock()
		}
	}
}

// sync brings the file to the disk, without keeping Note waiting.
func (l *Log) sync() {
	l.mu.Lock()
	f := l.file
	l.mu.Unlock()
	if f == nil {
		return
	}
	if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // turned over meanwhile, which syncs it
		l.mu.Lock()
		l.found(err)
		l.mu.Unlock()
	}
}

// Close tries what waits once more and closes the file. It may be called again.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.write()
	l.closed = true
	if n := len(l.wait); n > 0 {
		l.lost += uint64(n)
		l.cfg.Logger.Error("entries of the audit log are lost: the disk does not take them", "entries", n)
	}
	if l.file == nil {
		return nil
	}
	return errors.Join(l.file.Sync(), l.file.Close())
}

// Lost is how many entries had to be given up since Open.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// short cuts a text to what an entry may hold, at the end of a character.
func short(text string) string {
	if len(text) <= textBytes {
		return text
	}
	return strings.ToValidUTF8(text[:textBytes], "") + "…"
}

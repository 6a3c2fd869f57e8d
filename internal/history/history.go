// Package history remembers how much the server has relayed: by the minute for a day, by the hour for thirty days,
// by all Nodes together and by each. It takes some 50 kB of memory and of the disk, and 4 MB more where many Nodes relay.
package history

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// How much is remembered.
const (
	Minutes = 24 * 60
	Hours   = 30 * 24
)

const (
	fileName   = "history.bin"
	nodesName  = "history-nodes.bin"
	lookEvery  = 5 * time.Second
	writeEvery = time.Minute // what a crash loses
)

// Config is what New needs.
type Config struct {
	DataDir string // where history.bin and history-nodes.bin are kept
	// Totals are the bytes relayed since the process began: from clients to peers, and back. It is called from one goroutine.
	Totals func() (in, out uint64)
	// Found is called with what is wrong with the file, and with nothing when it is in order again. May be nil.
	Found  func(now []findings.Finding)
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
}

// Keeper remembers. Make it with New and call Run; its other methods may be called from any goroutine.
type Keeper struct {
	cfg  Config
	path string

	nodes     byNode
	nodesPath string

	in, out uint64 // totals at the last look; used by Run alone
	looked  time.Time
	behind  bool // the file could not be written

	mu  sync.Mutex
	mem image
}

// New reads what an earlier process has left. A file that cannot be used is said and begun anew: it is worth no failure to start.
func New(cfg Config) (*Keeper, error) {
	if cfg.DataDir == "" || cfg.Totals == nil {
		return nil, errors.New("history: no data directory or no totals given")
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
	k := &Keeper{cfg: cfg, path: filepath.Join(cfg.DataDir, fileName), nodesPath: filepath.Join(cfg.DataDir, nodesName)}
	k.nodes = byNode{most: maxCells, tracks: map[string]*track{}}
	k.read(k.path, k.mem.parse)
	k.read(k.nodesPath, k.nodes.parse)
	now := cfg.Now()
	k.mem.began(now)
	k.looked = now
	return k, nil
}

// read reads a file that an earlier process may have left.
func (k *Keeper) read(path string, parse func([]byte) error) {
	if err := durable.Sweep(path); err != nil {
		k.cfg.Logger.Warn("what was left of writing the history cannot be removed", "error", err)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = parse(data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.cfg.Logger.Warn("the history of what was relayed cannot be read, and is begun anew", "file", path, "error", err)
	}
}

// Run remembers until ctx ends. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	look, write := time.NewTicker(lookEvery), time.NewTicker(writeEvery)
	defer look.Stop()
	defer write.Stop()
	for {
		select {
		case <-ctx.Done():
			k.look()
			k.write()
			return nil
		case <-look.C:
			k.look()
		case <-write.C:
			k.write()
		}
	}
}

// look counts what was relayed since the last look.
func (k *Keeper) look() {
	now := k.cfg.Now()
	in, out := k.cfg.Totals()
	more := point{Millis: uint32(max(0, now.Sub(k.looked).Milliseconds())), In: in - min(in, k.in), Out: out - min(out, k.out)}
	k.in, k.out, k.looked = in, out, now
	k.mu.Lock()
	defer k.mu.Unlock()
	add(k.mem.Minutes[:], slotOf(now, time.Minute), more)
	add(k.mem.Hours[:], slotOf(now, time.Hour), more)
}

// write brings it to the disk.
func (k *Keeper) write() {
	k.mu.Lock()
	data := k.mem.encode()
	k.mu.Unlock()
	err := written(k.path, data)
	k.nodes.mu.Lock()
	data = nil
	if k.nodes.changed || k.behind {
		k.nodes.changed, data = false, k.nodes.encode()
	}
	k.nodes.mu.Unlock()
	if data != nil {
		err = errors.Join(err, written(k.nodesPath, data))
	}
	if err != nil {
		k.behind = true
		k.cfg.Found([]findings.Finding{{
			ID: "history.file", Detail: "what was relayed cannot be written to the disk, and a restart would forget it: " + err.Error(),
			Remedy: "free or repair the disk of data_dir",
		}})
		return
	}
	if k.behind {
		k.behind = false
		k.cfg.Found(nil)
	}
}

// written is durable.WriteFile, for which it is enough that the new file is there.
func written(path string, data []byte) error {
	if err := durable.WriteFile(path, data, 0o600); err != nil && !errors.Is(err, durable.ErrUnsynced) {
		return err
	}
	return nil
}

// Series is what was relayed over time.
type Series struct {
	Step  time.Duration
	Until time.Time
	// In and Out are bytes per second, the mean of the time in which the server ran; nil: it did not run. The last is of the step that
	// is not over, at Until; those before it end at whole minutes or hours.
	In, Out []*uint64
}

// Series returns the last day by the minute, or the last thirty days by the hour.
func (k *Keeper) Series(byHour bool) Series {
	now := k.cfg.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if byHour {
		return series(k.mem.Hours[:], now, time.Hour)
	}
	return series(k.mem.Minutes[:], now, time.Minute)
}

// Starts are the times at which the server was started, the oldest first.
func (k *Keeper) Starts() []time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []time.Time
	for _, s := range k.mem.Starts {
		if s != 0 {
			all = append(all, time.Unix(s, 0).UTC())
		}
	}
	return all
}

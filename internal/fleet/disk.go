package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/banset"
)

const (
	fileName    = "fleet.json"
	fileVersion = 1
)

// ErrFile is the error of a file that cannot be read at the start.
var ErrFile = errors.New("what is kept of the fleet cannot be read")

// keptFile is fleet.json in the data_dir: what bans.json does not say of the fleet's bans. It has the ids that were lifted, and
// the bans on Nodes on which another counts.
type keptFile struct {
	Version int               `json:"version"`
	Records []json.RawMessage `json:"records"`
}

// recall makes the set from what this machine has on its disk. Redis may have none of it.
func (f *Fleet) recall() error {
	path := filepath.Join(f.cfg.Dir, fileName)
	if err := durable.Sweep(path); err != nil {
		return fmt.Errorf("%w: %w; remove it by hand", ErrFile, err)
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w; let this user read it", ErrFile, err)
	}
	now := f.cfg.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		var kept keptFile
		err := json.Unmarshal(data, &kept)
		if err == nil && kept.Version != fileVersion {
			err = fmt.Errorf("version %d, not %d", kept.Version, fileVersion)
		}
		var records []banset.Record
		for _, text := range kept.Records {
			r, errRecord := banset.Decode(text)
			err = errors.Join(err, errRecord)
			records = append(records, r)
		}
		if err != nil {
			return fmt.Errorf("%w: %s is damaged (%w); restore it from a backup, or remove it: bans that were lifted may come back then",
				ErrFile, path, err)
		}
		f.enter(records, now)
	}
	for _, b := range f.cfg.Bans.Bans() {
		f.enter([]banset.Record{f.recordOf(b)}, now)
	}
	f.dirty = false
	return nil
}

// behind takes note that the file is to be written, where r belongs there. f.mu is held.
func (f *Fleet) behind(r banset.Record) {
	f.dirty = f.dirty || r.Lifts() || len(f.set.InForce(r.Node, f.cfg.Now())) > 1
}

// keep writes the file, with more records that are about to come in. f.settling is held.
func (f *Fleet) keep(more []banset.Record) error {
	path := filepath.Join(f.cfg.Dir, fileName)
	now := f.cfg.Now()
	var records []json.RawMessage
	add := func(r banset.Record) { records = append(records, r.Encode()) }
	f.mu.Lock()
	f.set.All(func(r banset.Record) bool {
		switch {
		case r.Lifts():
			add(r)
		case len(f.set.InForce(r.Node, now)) > 1: // bans.json has that which counts
			add(r)
		}
		return true
	})
	f.dirty = false
	f.mu.Unlock()
	for _, r := range more {
		add(r)
	}
	err := durable.Write(path, 0o600, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(keptFile{fileVersion, records})
	})
	f.mu.Lock()
	f.state.disk = err
	f.dirty = f.dirty || err != nil
	f.mu.Unlock()
	return err
}

// save writes the file if it is behind. Without now, once a second at most.
func (f *Fleet) save(now bool) {
	f.mu.Lock()
	due := f.dirty && (now || time.Since(f.at.saved) > saveEvery)
	f.mu.Unlock()
	if !due {
		return
	}
	f.settling.Lock()
	defer f.settling.Unlock()
	f.at.saved = time.Now()
	_ = f.keep(nil) // reported by report, and tried again
}

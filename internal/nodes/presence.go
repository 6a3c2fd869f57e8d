package nodes

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

const (
	presentName = "connected.json"
	// presentFor is how long after it was written the list of who is connected is worth anything.
	presentFor = 10 * time.Minute
	maxPresent = 32 << 20 // bytes
)

// presence keeps on the disk who is connected, so that an expired credential of such a Node still counts for a while after a
// restart, until the Node has joined again.
type presence struct {
	mu   sync.Mutex
	path string
	last []string  // as written …
	at   time.Time // … at this time
	said bool      // that it could not be
}

// presentFile is the content of the file.
type presentFile struct {
	At    time.Time `json:"at"`
	Nodes []string  `json:"nodes"`
}

// Joined notes that a Node has joined the Broker in this process. It is connected until Left says otherwise.
func (r *Registry) Joined(node, detail string) {
	r.noteAnd(node, known, KindConnected, false, detail, func(n *entry) { n.joined, n.vouched = true, 0 })
}

// Left notes that it is there no longer. lost: nobody ended the connection on purpose, so that it may come back, and counts as
// connected for ConnectedFor.
func (r *Registry) Left(node, detail string, lost bool) {
	now := r.now().UnixNano()
	r.noteAnd(node, known, KindLeft, lost, detail, func(n *entry) {
		if n.joined = false; lost {
			n.vouched = now
		} else {
			n.leave()
		}
	})
}

// NotJoined notes that a Node could not join that Broker, for a reason that the Decider has not noted.
func (r *Registry) NotJoined(node, detail string) { r.note(node, stranger, KindLeft, true, detail) }

// Signal notes that a Node asked another for a connection, or answered, through that Broker, or was asked.
func (r *Registry) Signal(node, detail string, failed bool) {
	r.note(node, known, KindSignal, failed, detail)
}

// recallPresent has the Nodes count as connected that were when the last process ended, or was killed. A file that cannot be
// read is passed over: Nodes join again within seconds.
func (r *Registry) recallPresent(dir string) {
	r.here.path = filepath.Join(dir, presentName)
	if err := durable.Sweep(r.here.path); err != nil {
		r.log.Warn("what was left of writing a file cannot be removed", "path", r.here.path, "error", err)
	}
	st, err := os.Stat(r.here.path)
	if err != nil || st.Size() > maxPresent {
		return
	}
	data, err := os.ReadFile(r.here.path)
	var was presentFile
	if err != nil || json.Unmarshal(data, &was) != nil {
		r.log.Warn("who was connected when the process ended cannot be read: expired credentials count again when their Nodes have joined",
			"path", r.here.path, "error", err)
		return
	}
	now := r.now()
	if age := now.Sub(was.At); age < 0 || age > presentFor {
		return
	}
	for _, id := range was.Nodes {
		r.with(id, known, now, func(_ *shard, n *entry) { n.vouched = now.UnixNano() })
	}
}

// ConnectedNodes lists the Nodes for which [Registry.Connected] holds, in no order. It visits every Node.
func (r *Registry) ConnectedNodes() []string {
	now := r.now()
	list := []string{}
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for id, n := range s.nodes {
			if n.connected(now) {
				list = append(list, id)
			}
		}
		s.mu.Unlock()
	}
	return list
}

// keepPresent writes who is connected, if that has changed.
func (r *Registry) keepPresent() {
	now := r.now()
	list := r.ConnectedNodes()
	slices.Sort(list)
	p := &r.here
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(list) == 0 && len(p.last) == 0 {
		err := os.Remove(p.path) // of the process before
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	if slices.Equal(list, p.last) && now.Sub(p.at) < presentFor/2 {
		return
	}
	data, err := json.Marshal(presentFile{now.UTC(), list})
	if err == nil {
		err = durable.WriteFile(p.path, data, 0o600)
	}
	if err != nil && !p.said {
		r.log.Warn("who is connected cannot be written to data_dir: after a restart expired credentials count again when their Nodes have joined",
			"error", err)
	}
	p.last, p.at, p.said = list, now, err != nil
}

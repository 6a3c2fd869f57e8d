package fleet

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/seal"
)

// Self is what a machine says of itself.
type Self struct {
	Version     string   `json:"version"`
	STUN        []string `json:"stun"` // URLs that clients are told, as where it is alone
	TURN        []string `json:"turn"`
	Allocations int      `json:"allocations"`
	Limit       int      `json:"limit,omitempty"` // of allocations; 0: none
	FreePorts   int      `json:"free_ports"`
	Ports       int      `json:"ports"`
	Bits        uint64   `json:"bits"` // relayed per second, both ways
	CPU         float64  `json:"cpu"`  // of all cores, 0 to 1
	Nodes       int      `json:"nodes"`
	Draining    bool     `json:"draining,omitempty"`
	// Relays are the addresses of its relays, and RelayMin to RelayMax their ports.
	Relays   []netip.Addr `json:"relays,omitempty"`
	RelayMin uint16       `json:"relay_min,omitempty"`
	RelayMax uint16       `json:"relay_max,omitempty"`

	Same map[string]string `json:"same"` // what all machines should have the same, by its name, as a text or a fingerprint
}

// full reports whether no further allocation would be taken.
func (s Self) full() bool {
	return s.Limit > 0 && s.Allocations >= s.Limit || s.Ports > 0 && s.FreePorts == 0
}

// room is how much of the machine is free, 0 to 1: what there is least of counts.
func (s Self) room() float64 {
	free := 1 - s.CPU
	if s.Ports > 0 {
		free = min(free, float64(s.FreePorts)/float64(s.Ports))
	}
	if s.Limit > 0 {
		free = min(free, 1-float64(s.Allocations)/float64(s.Limit))
	}
	return max(free, 0)
}

// heartbeat is what stands in Redis of a machine.
type heartbeat struct {
	Boot   string    `json:"boot"`
	Seq    uint64    `json:"seq"`
	At     time.Time `json:"at"` // by its clock
	Name   string    `json:"name"`
	Region string    `json:"region,omitempty"`
	Takes  []string  `json:"takes"` // fingerprints of the secrets that it takes, that for new credentials first
	Bans   int       `json:"bans"`
	Digest string    `json:"digest"`            // of all its bans
	Who    uint64    `json:"who"`               // number of the list of its connected Nodes
	LiveAt uint64    `json:"live_at,omitempty"` // number of the message up to which its live allocations stand in Redis
	Ledger string    `json:"ledger,omitempty"`  // under which stands what it has used
	TiesAt uint64    `json:"ties_at,omitempty"` // number of the message up to which its ties stand in Redis
	UsedAt uint64    `json:"used_at,omitempty"` // how often it has put that there
	// Answers are the kinds of questions that it answers: none where its version is older than questions are.
	Answers []string `json:"answers,omitempty"`
	Self
}

// Bounds of what is believed of a machine.
const (
	maxMachines  = 10_000
	maxStrange   = 100
	maxHeartbeat = 64 << 10
	maxURLs      = 32
	maxURL       = 512
	maxRelays    = 32 // addresses
	// maxSkew is how far the clock of a machine may be from ours: an older heartbeat may be one that somebody has kept.
	maxSkew = time.Hour
	// sayClock is from when on it is named.
	sayClock = 30 * time.Second
)

// ok reports whether a heartbeat can be one.
func (h *heartbeat) ok() bool {
	if h.Boot == "" || len(h.Boot) > 64 || CheckName(h.Name) != nil || CheckName(h.Region) != nil {
		return false
	}
	for _, urls := range [][]string{h.STUN, h.TURN} {
		if len(urls) > maxURLs || slices.ContainsFunc(urls, func(u string) bool { return len(u) > maxURL }) {
			return false
		}
	}
	return len(h.Takes) > 0 && len(h.Relays) <= maxRelays
}

// machine is what is known of another one.
type machine struct {
	said  heartbeat
	heard time.Duration // when it last spoke, by Fleet.clock
	fresh bool          // it has spoken since we listen; before that it may be what a machine left that is gone
	left  bool          // it has said goodbye
	skew  time.Duration // of its clock, when it last spoke
	told  *told         // what Nodes are told of it; nil: not made yet
}

// up reports whether m is there. f.mu is held.
func (f *Fleet) up(m *machine) bool {
	return m.fresh && !m.left && f.clock-m.heard < f.gone() && m.skew.Abs() < maxSkew
}

// there reports whether the machine with that boot id is there, as far as is known.
func (f *Fleet) there(boot string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[boot]
	return m != nil && f.up(m)
}

// gone is after what silence a machine counts as silent. f.mu is held.
func (f *Fleet) gone() time.Duration {
	return f.cfg.gone + time.Duration(stretched(len(f.machines))-1)*f.cfg.beat
}

// What all say to all grows with the square of their number. So in a large fleet each reads the heartbeats of all more seldom,
// and waits as much longer until it counts another as silent; who drains, is full or leaves says so to all at once as ever.
const (
	// stretchedFrom is the number of machines from which on that is so.
	stretchedFrom = 100
	// greetedBelow is that below which a newcomer is answered at once, in place of reading who is there twice.
	greetedBelow = 32
)

// stretched is how many beats come to one reading, where so many other machines are known.
func stretched(others int) int { return 1 + others/stretchedFrom }

// stretch is that of now.
func (f *Fleet) stretch() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return stretched(len(f.machines))
}

// hear takes in a heartbeat. spoken: the machine says it now; else it stands in Redis, and may have stood there for long.
func (f *Fleet) hear(sealed string, spoken bool) {
	if len(sealed) > maxHeartbeat {
		return
	}
	text, ok := f.open(forMachine, sealed)
	known := ok
	if !ok { // another secret, perhaps, of which the operator should hear
		if text = f.unsealed(sealed); text == nil {
			return
		}
	}
	var h heartbeat
	if json.Unmarshal(text, &h) != nil || !h.ok() || h.Boot == f.boot {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all, most := f.machines, maxMachines
	if !known {
		all, most = f.strange, maxStrange
	} else {
		delete(f.strange, h.Boot)
	}
	m := all[h.Boot]
	skew := h.At.Sub(f.cfg.Now())
	switch {
	case m == nil && len(all) >= most:
		return
	case m == nil:
		m = &machine{heard: f.clock, fresh: spoken, skew: skew}
		all[h.Boot] = m
		if spoken && len(all) < greetedBelow { // it has come just now, and should hear of this one
			f.state.said = ""
			f.hurry()
		}
	case h.Seq <= m.said.Seq:
		return
	default:
		m.heard, m.fresh, m.left, m.skew = f.clock, true, false, skew
	}
	m.said = h
}

// bye takes note that a machine has left.
func (f *Fleet) bye(boot string, seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.machines[boot]; m != nil && seq > m.said.Seq {
		m.left, m.said.Seq = true, seq
	}
}

// forgetMachines drops those that are silent for long, and returns the boot ids of those whose heartbeats can go from Redis.
func (f *Fleet) forgetMachines() (boots []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, all := range []map[string]*machine{f.machines, f.strange} {
		for boot, m := range all {
			silent := f.clock - m.heard
			switch {
			case m.fresh && silent > 10*time.Minute, !m.fresh && silent > 5*f.cfg.gone, m.left && silent > f.cfg.gone, m.fresh && f.replaced(m):
				if f.machines[boot] == m {
					f.depart(boot)
				}
				delete(all, boot)
				boots = append(boots, boot)
			}
		}
	}
	return boots
}

// replaced reports whether a machine that is gone is there again, as another process. f.mu is held.
func (f *Fleet) replaced(m *machine) bool {
	if f.up(m) {
		return false
	}
	for _, other := range f.machines {
		if other != m && other.said.Name == m.said.Name && f.up(other) {
			return true
		}
	}
	return m.said.Name == f.cfg.Name
}

// State is how a machine stands.
type State string

// The states of machines.
const (
	Up       State = "up"
	Draining State = "draining"
	Full     State = "full"
	Silent   State = "silent"  // for ten seconds; nobody is sent to it
	Left     State = "left"    // it has ended in order
	Apart    State = "apart"   // its clock and ours are so far apart that what it says may be old
	Strange  State = "strange" // it has another credential secret, so that nothing that it says is believed
)

// Machine is what this machine knows of one of the fleet.
type Machine struct {
	Name    string
	Region  string
	Boot    string // tells processes apart
	Here    bool   // it is this one
	State   State
	Heard   time.Duration // since it last spoke, while Redis was there
	Skew    time.Duration // of its clock from ours
	Takes   bool          // the credentials that are issued here
	Bans    int
	Differs []string // what it has otherwise than this machine
	Self
}

// Machines lists this machine and the others, by name.
func (f *Fleet) Machines() []Machine {
	own := f.own()
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []Machine{{
		Name: own.Name, Region: own.Region, Boot: own.Boot, Here: true, State: own.state(), Takes: true, Bans: own.Bans, Self: own.Self,
	}}
	for _, m := range f.machines {
		if !m.fresh {
			continue
		}
		line := m.line(&own, f.clock)
		switch {
		case m.left:
			line.State = Left
		case m.skew.Abs() >= maxSkew:
			line.State = Apart
		case !f.up(m):
			line.State = Silent
		}
		all = append(all, line)
	}
	for _, m := range f.strange {
		if !f.up(m) {
			continue
		}
		line := m.line(&own, f.clock)
		line.State, line.Takes, line.Differs = Strange, false, []string{"credentials.secret"}
		all = append(all, line)
	}
	slices.SortFunc(all, func(x, y Machine) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Boot, y.Boot))
	})
	return all
}

func (h *heartbeat) state() State {
	switch {
	case h.Draining:
		return Draining
	case h.full():
		return Full
	}
	return Up
}

func (m *machine) line(own *heartbeat, clock time.Duration) Machine {
	return Machine{
		Name: m.said.Name, Region: m.said.Region, Boot: m.said.Boot, State: m.said.state(), Heard: clock - m.heard, Skew: m.skew,
		Takes: slices.Contains(m.said.Takes, own.Takes[0]), Bans: m.said.Bans, Differs: differs(own, &m.said), Self: m.said.Self,
	}
}

// differs names what one machine has otherwise than another.
func differs(own, other *heartbeat) (names []string) {
	if !slices.Contains(other.Takes, own.Takes[0]) || !slices.Contains(own.Takes, other.Takes[0]) {
		names = append(names, "credentials.secret")
	}
	for name, value := range own.Same {
		if theirs, there := other.Same[name]; there && !seal.Alike(value, theirs) { // another version may have other names
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

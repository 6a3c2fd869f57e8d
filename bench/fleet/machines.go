package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
)

// machine is one of the fleet.
type machine struct {
	*fleet.Fleet
	reg    *nodes.Registry
	client redis.UniversalClient
	stop   func()
	done   sync.WaitGroup

	mu    sync.Mutex
	name  string
	nodes []string
	came  int
}

// startMachine starts one, which has some Nodes. endAll ends it.
func startMachine(ctx context.Context, number, crowd int, addr, dir string) (*machine, error) {
	m := &machine{name: fmt.Sprintf("machine-%d", number)}
	for i := range crowd {
		m.nodes = append(m.nodes, fmt.Sprintf("node-%d-%d", number, i))
	}
	dir = filepath.Join(dir, m.name)
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, err
	}
	if m.reg, err = nodes.New(nodes.Config{DataDir: dir}); err != nil {
		return nil, err
	}
	if m.client, err = redisurl.Open("redis://" + addr); err != nil {
		return nil, err
	}
	m.Fleet, err = fleet.New(fleet.Config{
		Redis: m.client, Name: m.name, Region: fmt.Sprintf("region-%d", number%8), Dir: dir, Bans: m.reg, Self: m.self, Connected: m.connected,
		Write:    func(stun, turn []string) any { return [2][]string{stun, turn} },
		Settings: fleet.Settings{Secrets: []string{secret}},
	})
	if err != nil {
		return nil, err
	}
	ctx, m.stop = context.WithCancel(ctx)
	m.done.Go(func() { _ = m.Run(ctx) })
	return m, nil
}

// self is what a machine says of itself: as much as one in earnest does.
func (m *machine) self() fleet.Self {
	host := m.name + ".turn.example.org"
	m.mu.Lock()
	defer m.mu.Unlock()
	return fleet.Self{
		Version: "1.2.3", STUN: []string{"stun:" + host + ":3478"},
		TURN: []string{
			"turn:" + host + ":3478?transport=udp", "turn:" + host + ":3478?transport=tcp",
			"turns:" + host + ":5349?transport=tcp", "turns:" + host + ":443?transport=tcp",
		},
		Allocations: len(m.nodes) / 10, Limit: 50_000, Ports: 49_152, FreePorts: 49_152 - len(m.nodes)/10, Bits: 123_456_789, CPU: 0.123456,
		Nodes: len(m.nodes),
		Same: map[string]string{
			"turn.realm": "a", "turn.peers": "b", "turn.limits": "c", "credentials": "d", "hooks.authenticate": "e", "hooks.authorize": "f", "hooks.messages": "g",
		},
	}
}

// connected lists its Nodes, of which one has changed each time.
func (m *machine) connected() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.nodes) > 1 {
		m.came++
		m.nodes[1+m.came%(len(m.nodes)-1)] = fmt.Sprintf("%s-newcomer-%d", m.name, m.came)
	}
	return append([]string{}, m.nodes...)
}

func startAll(ctx context.Context, machines, nodes int, addr, dir string) (all []*machine, err error) {
	for i := range machines {
		m, err := startMachine(ctx, i, nodes/machines, addr, dir)
		if err != nil {
			endAll(all)
			return nil, err
		}
		all = append(all, m)
		time.Sleep(2 * time.Second / time.Duration(machines)) // so that they do not beat as one
	}
	return all, nil
}

func endAll(all []*machine) {
	for _, m := range all {
		m.stop()
	}
	for _, m := range all {
		m.done.Wait()
		_ = m.client.Close()
	}
}

// silentHere is how many machines are not there, as m knows.
func silentHere(m *machine, of int) int {
	for _, x := range m.Machines() {
		if x.State == fleet.Up {
			of--
		}
	}
	return of
}

func allKnown(all []*machine) bool {
	for _, m := range all {
		if silentHere(m, len(all)) > 0 {
			return false
		}
	}
	return true
}

// mostSilent asks some of the machines.
func mostSilent(all []*machine) (most int) {
	for i := 0; i < len(all); i += max(1, len(all)/10) {
		most = max(most, silentHere(all[i], len(all)))
	}
	return most
}

// allConnected reports whether each knows of a Node of each, one that stays.
func allConnected(all []*machine) bool {
	for i, m := range all {
		for j := range all {
			if i != j && !m.Connected(fmt.Sprintf("node-%d-0", j)) {
				return false
			}
		}
	}
	return true
}

func allFailures(all []*machine) (n uint64) {
	for _, m := range all {
		n += m.Counts().Failures
	}
	return n
}

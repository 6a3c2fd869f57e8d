package relay

import (
	"net/netip"
	"sync"
)

// clientTable finds the relay of a UDP client of one listener. Any number of goroutines may use it.
type clientTable struct {
	mu sync.Mutex // of writers
	table[clientKey, *Relay]
}

type clientKey struct {
	client netip.AddrPort
	server netip.Addr
}

func (t *clientTable) find(client netip.AddrPort, server netip.Addr) *Relay {
	return t.get(hashAddrPort(client), clientKey{client, server})
}

// add enters r, unless its client has a relay.
func (t *clientTable) add(client netip.AddrPort, server netip.Addr, r *Relay) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.find(client, server) != nil {
		return false
	}
	t.put(hashAddrPort(client), clientKey{client, server}, r)
	return true
}

// drop takes r out, if it is in.
func (t *clientTable) drop(client netip.AddrPort, server netip.Addr, r *Relay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.find(client, server) == r {
		t.remove(hashAddrPort(client), clientKey{client, server})
	}
}

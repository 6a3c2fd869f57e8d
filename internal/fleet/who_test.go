package fleet

import "testing"

// Who is connected at one machine is at all, until it has left, also after Redis was emptied.
func TestConnectedElsewhere(t *testing.T) {
	server := serveRedis(t)
	all := startMany(t, redisAt(server), 2)
	be := func(nodes ...string) {
		all[0].mu.Lock()
		all[0].here = nodes
		all[0].mu.Unlock()
	}
	other := all[1]
	if other.Connected("alice") || all[0].Connected("alice") {
		t.Error("connected before it has joined")
	}
	be("alice", "bob")
	other.until("it knows both", func() bool { return other.Connected("alice") && other.Connected("bob") })
	be("bob")
	other.until("it knows that one has left", func() bool { return !other.Connected("alice") && other.Connected("bob") })
	other.client.FlushAll(t.Context())
	fresh := start(t, redisAt(server), "fresh", "")
	fresh.until("it knows the one that is left", func() bool { return fresh.Connected("bob") })
	// A list of one machine is none of another.
	forged := other.client.HGet(t.Context(), whoKey, all[0].boot).Val()
	if _, ok := other.readWho(other.boot, forged); ok {
		t.Error("a list was taken for another machine's")
	}
	for _, text := range []string{"x", "AA", all[0].ring.Load().Seal(forWho+"b", []byte("AA")), all[0].ring.Load().Seal(forWho+"b", []byte("?"))} {
		if _, ok := other.readWho("b", text); ok {
			t.Errorf("%q was read", text)
		}
	}
	all[0].die()
	other.until("the machine is silent", func() bool { return other.state("m0") == Silent })
	if !other.Connected("bob") {
		t.Error("a Node of a machine that fell silent a moment ago counts as gone")
	}
}

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
//
// The tables of relay.c, which package offload keeps, and looking up in them.

#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// What became of the datagrams of flows, and of those that could not be looked up.
enum { TAKEN, SETTLING, EXPIRED, MERGED, LONG, ODD, FAILED, PROVING, CAUSES };

struct address { __u32 w[4]; }; // IPv4: the first word, the rest 0

struct key { // of a datagram as it arrives
	struct address src, dst;
	__be16 sport, dport;
	__be16 channel; // 0: no ChannelData
	__u16 family;
};

enum { TCX, ACROSS, NATIVE, GENERIC }; // ways of flows

struct flow { // of a datagram as it leaves
	__u64 expires; // bpf_ktime_get_ns
	__u32 interface;
	__be16 channel; // 0: no ChannelData
	__u16 mtu;
	__u16 pseudo; // sum of the addresses of those that arrive
	__u16 change; // how much more the addresses, ports and channel of those that leave sum up to
	__u32 way;
	struct address src, dst, hop; // hop: the neighbour to which it goes
	__be16 sport, dport;
	__u16 there[3], here[3]; // of all ways but TCX: the neighbour's station, the interface's own
};

struct state { // of a flow
	__u64 last; // when a datagram was passed to the sockets
	__u64 settled; // until when the sockets have sent on all that they were passed; user space writes it
	__u64 passed;
	__u64 datagrams, bytes; // that the kernel relayed, payload without header
	__u32 taken; // the kernel relays the flow
	__u32 held; // the sockets are to have all of it; user space writes it
	__u32 requests, answers; // STUN's Binding (RFC 8489), by which ICE asks whether the other end lives
	__u32 asked; // of the requests, those that the kernel relayed
	__u32 pad; // to a whole cache line
};

// record is all of a flow, in three cache lines. But for expires, user space changes key and flow only while no run of a program
// can be reading them.
struct record { struct key key; struct flow flow; struct state state; };

struct cpu { // its first cache line is all that most datagrams need of it
	__u64 entered, left; // runs of the program that have begun and ended
	__u64 alive; // when user space gave its last sign of life
	__u64 seed; // of hashes
	__u32 mask; // of hashes: the buckets in use
	__u32 unused;
	__u64 causes[CAUSES];
	__u64 pad[3]; // to whole cache lines
};

// The records are found by a table of our own, whose buckets are one cache line each, and no more than the flows need: in a
// trickle most of what a look-up costs is fetching what it looks at. An entry is the upper bits of a hash, and a slot and one.
#define SLOT_BITS 20
#define SLOT ((1 << SLOT_BITS) - 1)
#define ENTRIES 16

struct bucket { __u32 entries[ENTRIES]; };

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct bucket); __uint(max_entries, 1); } buckets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct record); __uint(max_entries, 1); } records SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct cpu); __uint(max_entries, 1); } cpus SEC(".maps");

// find looks up where a datagram belongs.
static __attribute__((noinline)) struct record *find(const struct cpu *c, const struct key *k)
{
	const __u64 *words = (const __u64 *)k;
	__u64 h = c->seed;
#pragma unroll
	for (int i = 0; i < sizeof(*k) / 8; i++) {
		h = (h ^ words[i]) * 0x9e3779b97f4a7c15;
		h ^= h >> 29;
	}
	h *= 0xd6e8feb86659fd93;
	h ^= h >> 32;
	__u32 at = h & c->mask, tag = h >> 32 & ~SLOT;
	struct bucket *b = bpf_map_lookup_elem(&buckets, &at);
	if (!b)
		return 0;
	for (int i = 0; i < ENTRIES; i++) {
		__u32 entry = *(volatile __u32 *)&b->entries[i];
		if ((entry & ~SLOT) != tag)
			continue;
		__u32 slot = (entry & SLOT) - 1; // of an empty entry: none that there is
		struct record *r = bpf_map_lookup_elem(&records, &slot);
		if (!r)
			continue;
		(void)*(volatile __u32 *)&r->flow.src; // fetches its lines at once, and not one after the other
		(void)*(volatile __u32 *)&r->state.held;
		const __u64 *theirs = (const __u64 *)&r->key;
		__u64 differ = 0;
#pragma unroll
		for (int j = 0; j < sizeof(*k) / 8; j++)
			differ |= words[j] ^ theirs[j];
		if (!differ)
			return r;
	}
	return 0;
}

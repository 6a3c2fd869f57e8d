// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
//
// ChannelData in the kernel (RFC 8656 §12): two programs for where a datagram has just come in on an interface. They look up
// what arrives in the table of flows, and what they find there leaves at once: without its ChannelData header toward a peer,
// with one toward a client, with another between two clients of this server. Everything else, and everything odd, goes on to
// the sockets untouched, which know all the rules. Package offload keeps the table.
//
// A flow that leaves where it came in may be XDP's, in the driver or behind it; all others are tcx's. What is written for both
// has xdp as a constant, and ctx is a struct xdp_md or a struct __sk_buff by it.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NEXT (xdp ? XDP_PASS : -1) // TCX_NEXT: to other programs, then to the sockets
#define HEADER 4
#define IN4 2 // AF_INET
#define IN6 10 // AF_INET6
#define FRAGMENT 0x3fff

// What became of the datagrams of flows, and of those that could not be looked up.
enum { TAKEN, SETTLING, EXPIRED, MERGED, LONG, ODD, FAILED, PROVING, CAUSES };

struct address { __u32 w[4]; }; // IPv4: the first word, the rest 0

struct key { // of a datagram as it arrives
	struct address src, dst;
	__be16 sport, dport;
	__be16 channel; // 0: no ChannelData
	__u16 family;
};

struct flow { // of a datagram as it leaves
	struct address src, dst, hop; // hop: the neighbour to which it goes
	__be16 sport, dport;
	__be16 channel; // 0: no ChannelData
	__u16 mtu;
	__u32 interface;
	__u32 slot;
	__u64 expires; // bpf_ktime_get_ns
	__u16 there[3], here[3]; // of XDP: the neighbour's station, the interface's own
	__u32 way;
};

enum { TCX, NATIVE, GENERIC }; // ways of flows

struct cell { __u64 datagrams, bytes; }; // of one CPU, payload without header

struct state { // of a flow
	__u64 last; // when a datagram was passed to the sockets
	__u64 settled; // until when the sockets have sent on all that they were passed; user space writes it
	__u64 passed;
	__u32 taken; // the kernel relays the flow
	__u32 held; // the sockets are to have all of it; user space writes it
	__u32 requests, answers; // STUN's Binding (RFC 8489), by which ICE asks whether the other end lives
	__u32 asked; // of the requests, those that the kernel relayed
	__u32 pad[5]; // to a whole cache line
};

struct cpu {
	__u64 entered, left; // runs of the program that have begun and ended
	__u64 causes[CAUSES];
	__u64 pad[6]; // to whole cache lines
};

struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct key); __type(value, struct flow); __uint(max_entries, 1); } flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct cell); __uint(max_entries, 1); } cells SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct state); __uint(max_entries, 1); } states SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct cpu); __uint(max_entries, 1); } cpus SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, __u64); __uint(max_entries, 1); } alive SEC(".maps");

volatile const __u32 slots = 1;
volatile const __u64 grace = 1000000000; // how old the sign of life of user space may be, ns
volatile const __u64 quiet = 50000000; // after as long without a datagram the sockets have none left, ns
volatile const __u64 queued = 20000; // how long a datagram may be on its way to its socket, ns

struct sum { // what of a datagram its checksum covers and relaying changes
	struct address src, dst;
	__be16 sport, dport, length, length2;
	__be16 channel, size;
	__be32 pad;
};

struct parsed {
	__u32 frame; // bytes that there are
	__u16 station[3]; // to which it was sent
	__u32 iph; // bytes of the IP header
	__u32 payload; // bytes behind the UDP header
	__u32 data; // bytes of the payload that are data
	__be16 check; // of UDP
	__u8 tos, ttl;
	__be32 first; // word of an IPv6 header
	struct sum from;
};

static __always_inline __u32 fold(__u64 s)
{
	s = (s & 0xffffffff) + (s >> 32);
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return (s & 0xffff) + (s >> 16);
}

static __always_inline __u32 header_sum(const struct iphdr *ip)
{
	const __u16 *p = (const __u16 *)ip;
	__u32 s = 0;
#pragma unroll
	for (int i = 0; i < 10; i++)
		s += p[i];
	return fold(s);
}

// pseudo is the sum of the pseudo-header (RFC 768, RFC 8200 §8.1).
static __always_inline __u32 pseudo(const struct sum *s)
{
	return fold((__u64)(__u32)bpf_csum_diff(0, 0, (__be32 *)s, 32, 0) + s->length + bpf_htons(IPPROTO_UDP));
}

// parse reads the headers, and reports false if the sockets are to have the datagram without further ado. key lacks the
// channel.
static __always_inline int parse(void *ctx, const int xdp, struct key *k, struct parsed *p)
{
	struct __sk_buff *skb = ctx;
	struct xdp_md *md = ctx;
	void *data = (void *)(long)(xdp ? md->data : skb->data), *end = (void *)(long)(xdp ? md->data_end : skb->data_end);
	struct ethhdr *eth = data;
	struct udphdr *udp;
	if ((void *)(eth + 1) > end)
		return 0;
	p->frame = xdp ? end - data : skb->len;
	__builtin_memcpy(p->station, eth->h_dest, sizeof(p->station));
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
			return 0;
		if ((ip->frag_off & bpf_htons(FRAGMENT)) || ip->ttl <= 1 || header_sum(ip) != 0xffff)
			return 0;
		k->family = IN4;
		k->src.w[0] = ip->saddr;
		k->dst.w[0] = ip->daddr;
		p->iph = sizeof(*ip);
		p->payload = bpf_ntohs(ip->tot_len) - sizeof(*ip);
		p->tos = ip->tos;
		p->ttl = ip->ttl;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP || ip->hop_limit <= 1 || !udp->check)
			return 0;
		k->family = IN6;
		__builtin_memcpy(&k->src, &ip->saddr, sizeof(k->src));
		__builtin_memcpy(&k->dst, &ip->daddr, sizeof(k->dst));
		p->iph = sizeof(*ip);
		p->payload = bpf_ntohs(ip->payload_len);
		p->first = *(__be32 *)ip;
		p->ttl = ip->hop_limit;
	} else {
		return 0;
	}
	if (p->payload != bpf_ntohs(udp->len) || p->payload < sizeof(*udp) || ETH_HLEN + p->iph + p->payload > p->frame)
		return 0;
	p->payload -= sizeof(*udp);
	p->check = udp->check;
	p->from.src = k->src;
	p->from.dst = k->dst;
	k->sport = p->from.sport = udp->source;
	k->dport = p->from.dport = udp->dest;
	p->from.length = p->from.length2 = udp->len;
	return 1;
}

static __always_inline long load(void *ctx, const int xdp, __u32 at, void *to, __u32 n)
{
	return xdp ? bpf_xdp_load_bytes(ctx, at, to, n) : bpf_skb_load_bytes(ctx, at, to, n);
}

// channel reads the header of ChannelData as stunmsg.ParseChannelData does, except that no more may follow the data than what
// pads it to whole words.
static __always_inline int channel(void *ctx, const int xdp, struct parsed *p)
{
	__be16 head[2];
	__u32 at = ETH_HLEN + p->iph + sizeof(struct udphdr);
	if (p->payload < HEADER || load(ctx, xdp, at, head, sizeof(head)))
		return 0;
	if ((head[0] & bpf_htons(0xc000)) != bpf_htons(0x4000))
		return 0;
	__u32 n = bpf_ntohs(head[1]), behind = p->payload - HEADER - n;
	if (n + HEADER > p->payload || (behind && behind != (-n & 3)))
		return 0;
	if (behind) { // it is cut off, and its sum with it
		__u32 word = 0;
		if (load(ctx, xdp, at + HEADER + (n & ~3), &word, sizeof(word)))
			return 0;
		p->from.pad = word & bpf_htonl(0xffffffff >> (n & 3) * 8);
	}
	p->data = n;
	p->from.channel = head[0];
	p->from.size = head[1];
	return 1;
}

#define CHUNK 512 // the most that bpf_csum_diff takes

struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __uint(value_size, CHUNK + 4); __uint(max_entries, 1); } chunks SEC(".maps");

#define NO_SUM (1ull << 32)

// payload_sum is the sum of n bytes at offset at, or NO_SUM.
static __always_inline __u64 payload_sum(void *ctx, const int xdp, __u32 at, __u32 n)
{
	__u32 zero = 0;
	__u8 *chunk = bpf_map_lookup_elem(&chunks, &zero);
	__s64 s = 0;
	if (!chunk)
		return NO_SUM;
	for (int i = 0; i < 18 && n; i++) {
		__u64 size = n < CHUNK ? n : CHUNK;
		asm volatile("" : "+r"(size)); // for the verifier, which is to see the same register compared and used
		if (size < 1 || size > CHUNK)
			return NO_SUM;
		*(__u32 *)(chunk + (size & (CHUNK - 4))) = 0;
		if (load(ctx, xdp, at, chunk, size))
			return NO_SUM;
		s = bpf_csum_diff(0, 0, (__be32 *)chunk, (size + 3) & 0x3fc, s);
		at += size;
		n -= size;
	}
	return n ? NO_SUM : fold((__u32)s);
}

// They are functions of their own for the verifier's sake.
__attribute__((noinline)) __u64 skb_sum(struct __sk_buff *ctx, __u32 at, __u32 n) { return payload_sum(ctx, 0, at, n); }
__attribute__((noinline)) __u64 xdp_sum(struct xdp_md *ctx, __u32 at, __u32 n) { return payload_sum(ctx, 1, at, n); }

struct rest { struct udphdr udp; __be16 channel, size; __u8 more[8]; };

struct out { // the headers of a datagram that leaves
	__u16 pad, there[3], here[3], proto; // Ethernet, of XDP
	union {
		struct { struct iphdr ip; struct rest rest; } v4;
		struct { struct ipv6hdr ip; struct rest rest; } v6;
	};
};

// settled reports whether the kernel may relay the flow's next datagram without overtaking one that the sockets still have.
static __always_inline int settled(struct state *s)
{
	if (s->taken)
		return 1;
	__u64 now = bpf_ktime_get_ns();
	if (now - s->last > quiet || s->settled > s->last + queued) {
		s->taken = 1;
		return 1;
	}
	s->last = now;
	__sync_fetch_and_add(&s->passed, 1);
	return 0;
}

enum { REQUEST = 0x0001, ANSWER = 0x0101, REFUSAL = 0x0111 };

// stun is the type of the STUN message that the data are, if they look like one of Binding; otherwise 0.
static __always_inline __u32 stun(void *ctx, const int xdp, __u32 at, __u32 n)
{
	struct { __be16 type, length; __be32 cookie; } m;
	if (n < 20 || load(ctx, xdp, at, &m, sizeof(m)) || m.cookie != bpf_htonl(0x2112a442) || m.length & bpf_htons(0xc003))
		return 0;
	return bpf_ntohs(m.type);
}

// OUTSIDE reports whether a number is out of a range. It compares the number itself, twice: a compiler would compare its distance from
// the least, and from that the verifier of Linux 6.12, say, learns nothing of the number.
#define OUTSIDE(n, least, most) ({ \
	int outside = 1; \
	asm volatile("" : "+r"(n)); \
	if (n >= (least)) { \
		asm volatile("" : "+r"(n)); \
		outside = n > (most); \
	} \
	outside; \
})

#define PASS(cause) do { c->causes[cause]++; goto pass; } while (0)

static __always_inline int relay(void *ctx, const int xdp, struct cpu *c, __u32 cpu)
{
	struct __sk_buff *skb = ctx;
	struct xdp_md *md = ctx;
	struct key k = {};
	struct parsed p = {};
	__u32 zero = 0;
	if (!parse(ctx, xdp, &k, &p))
		return NEXT;
	struct flow *f = 0;
	if (channel(ctx, xdp, &p)) {
		k.channel = p.from.channel;
		f = bpf_map_lookup_elem(&flows, &k);
	}
	if (!f) {
		k.channel = p.from.channel = p.from.size = p.from.pad = 0;
		p.data = p.payload;
		if (!(f = bpf_map_lookup_elem(&flows, &k)))
			return NEXT;
	}
	// XDP has seen what comes in where its flows leave, and other stations' frames too.
	if ((f->way != TCX && f->interface == (xdp ? md->ingress_ifindex : skb->ifindex)) != xdp ||
	    (xdp && ((p.station[0] ^ f->here[0]) | (p.station[1] ^ f->here[1]) | (p.station[2] ^ f->here[2]))))
		return NEXT;
	struct state *s = bpf_map_lookup_elem(&states, &f->slot);
	__u32 at = cpu * slots + f->slot;
	struct cell *cell = bpf_map_lookup_elem(&cells, &at);
	__u64 *beat = bpf_map_lookup_elem(&alive, &zero);
	if (!s || !cell || !beat)
		return NEXT;
	if (!xdp && skb->gso_size) // several in one piece
		PASS(MERGED);
	__u64 now = bpf_ktime_get_coarse_ns();
	if (now >= f->expires || now > *(volatile __u64 *)beat + grace)
		PASS(EXPIRED);
	__u32 old = k.channel ? HEADER : 0, begin = ETH_HLEN + p.iph + sizeof(struct udphdr) + old;
	__u32 type = stun(ctx, xdp, begin, p.data);
	if (type == REQUEST)
		__sync_fetch_and_add(&s->requests, 1);
	else if (type == ANSWER || type == REFUSAL)
		__sync_fetch_and_add(&s->answers, 1);
	if (*(volatile __u32 *)&s->held)
		PASS(PROVING);
	if (!settled(s)) {
		c->causes[SETTLING]++;
		return NEXT;
	}

	__u32 head = f->channel ? HEADER : 0, length = sizeof(struct udphdr) + head + p.data;
	__s32 delta = (__s32)head - (__s32)old;
	if (p.iph + length > f->mtu)
		PASS(LONG);
	struct sum to = {
		.src = f->src, .dst = f->dst, .sport = f->sport, .dport = f->dport,
		.length = bpf_htons(length), .length2 = bpf_htons(length),
		.channel = f->channel, .size = head ? bpf_htons(p.data) : 0,
	};
	// A sender on this machine leaves the checksum to the interface, and only the sum of the pseudo-header is there. By
	// chance that is so for one in 65 536 others too: then the sum that is computed below is right as well.
	int partial = p.check && fold(p.check) % 0xffff == pseudo(&p.from) % 0xffff;
	__u32 sum = 0, gap = 0;
	if (p.check && !partial) {
		sum = fold((__u32)bpf_csum_diff((__be32 *)&p.from, sizeof(p.from), (__be32 *)&to, sizeof(to), (__u16)~p.check));
	} else if (partial) {
		// Where its checksum belongs is noted in the buffer, and the note cannot be moved. Taking out what is in front of
		// that place voids the note; what was taken out is put back below. A driver's frame has no note. Behind the driver
		// it is kept, out of XDP's reach, and several in one piece look like that, too.
		__u64 data = NO_SUM;
		gap = p.iph + 16;
		if (xdp ? f->way == NATIVE : p.payload >= 8 && p.iph + sizeof(struct udphdr) + p.payload >= gap + p.iph)
			data = xdp ? xdp_sum(ctx, begin, p.data) : skb_sum(ctx, begin, p.data);
		if (data == NO_SUM)
			PASS(ODD);
		sum = fold(data + (__u32)bpf_csum_diff(0, 0, (__be32 *)&to, sizeof(to), 0) + bpf_htons(IPPROTO_UDP));
	}
	if (p.check && !(sum = (__u16)~sum))
		sum = 0xffff;

	struct out o = {};
	struct rest *rest;
	if (p.iph == sizeof(struct iphdr)) {
		o.v4.ip.version = 4;
		o.v4.ip.ihl = 5;
		o.v4.ip.tos = p.tos;
		o.v4.ip.tot_len = bpf_htons(sizeof(struct iphdr) + length);
		o.v4.ip.id = bpf_get_prandom_u32(); // DF is not set, as on sockets
		o.v4.ip.ttl = p.ttl - 1;
		o.v4.ip.protocol = IPPROTO_UDP;
		o.v4.ip.saddr = f->src.w[0];
		o.v4.ip.daddr = f->dst.w[0];
		o.v4.ip.check = ~header_sum(&o.v4.ip);
		rest = &o.v4.rest;
	} else {
		*(__be32 *)&o.v6.ip = p.first;
		o.v6.ip.payload_len = bpf_htons(length);
		o.v6.ip.nexthdr = IPPROTO_UDP;
		o.v6.ip.hop_limit = p.ttl - 1;
		__builtin_memcpy(&o.v6.ip.saddr, &f->src, sizeof(f->src));
		__builtin_memcpy(&o.v6.ip.daddr, &f->dst, sizeof(f->dst));
		rest = &o.v6.rest;
	}
	rest->udp = (struct udphdr){ .source = f->sport, .dest = f->dport, .len = bpf_htons(length), .check = sum };
	rest->channel = to.channel;
	rest->size = to.size;
	struct bpf_redir_neigh hop = { .nh_family = k.family };
	__builtin_memcpy(hop.ipv6_nh, &f->hop, sizeof(hop.ipv6_nh));
	__builtin_memcpy(o.there, f->there, sizeof(o.there) + sizeof(o.here));
	o.proto = k.family == IN4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	__u32 interface = f->interface;
	__u64 size = p.iph + sizeof(struct udphdr) + head;

	// What is behind the data goes: padding, of ChannelData and of Ethernet.
	__u32 whole = begin + p.data;
	if (xdp) {
		if (delta && bpf_xdp_adjust_head(md, -delta))
			PASS(FAILED);
		if ((p.frame > whole && bpf_xdp_adjust_tail(md, (__s32)(whole - p.frame))) ||
		    OUTSIDE(size, sizeof(struct iphdr) + sizeof(struct udphdr), sizeof(o) - 16) ||
		    bpf_xdp_store_bytes(md, 0, o.there, ETH_HLEN + size))
			goto drop;
		goto taken;
	}
	if (p.frame > whole && bpf_skb_change_tail(skb, whole, 0))
		PASS(FAILED);
	if (gap) {
		// The headers and the first 8 bytes behind them are taken out.
		__u8 *more = head ? rest->more : (__u8 *)&rest->channel;
		if ((old ? bpf_skb_load_bytes(skb, begin, more, 4) : bpf_skb_load_bytes(skb, begin, more, 8)) || bpf_skb_adjust_room(skb, -(__s32)gap, BPF_ADJ_ROOM_MAC, 0))
			PASS(FAILED);
		size += 8 - old;
		if (bpf_skb_adjust_room(skb, (__s32)gap + delta, BPF_ADJ_ROOM_MAC, 0))
			goto drop;
	} else if (delta && bpf_skb_adjust_room(skb, delta, BPF_ADJ_ROOM_MAC, 0))
		PASS(FAILED);
	if (OUTSIDE(size, sizeof(struct iphdr) + sizeof(struct udphdr), sizeof(o) - 16) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &o.v4, size, BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH))
		goto drop;
taken:
	cell->datagrams++;
	cell->bytes += p.data;
	c->causes[TAKEN]++;
	if (type == REQUEST)
		__sync_fetch_and_add(&s->asked, 1);
	// Of what XDP_TX sends, a veth does not tell its other end.
	return xdp ? bpf_redirect(interface, 0) : bpf_redirect_neigh(interface, &hop, sizeof(hop), 0);
drop:
	c->causes[FAILED]++;
	return xdp ? XDP_DROP : TC_ACT_SHOT;
pass:
	s->last = bpf_ktime_get_ns();
	s->taken = 0;
	__sync_fetch_and_add(&s->passed, 1);
	return NEXT;
}

static __always_inline int run(void *ctx, const int xdp)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu *c = bpf_map_lookup_elem(&cpus, &cpu);
	if (!c)
		return NEXT;
	// Fetching makes them full barriers: what user space sees as left has not seen what it took out of the table before.
	__u64 runs = __sync_fetch_and_add(&c->entered, 1);
	asm volatile("" ::"r"(runs));
	int verdict = relay(ctx, xdp, c, cpu);
	runs = __sync_fetch_and_add(&c->left, 1);
	asm volatile("" ::"r"(runs));
	return verdict;
}

SEC("tcx/ingress") int turn(struct __sk_buff *skb) { return skb->pkt_type || skb->vlan_present ? -1 : run(skb, 0); }

SEC("xdp") int turn_xdp(struct xdp_md *md) { return run(md, 1); }

char _license[] SEC("license") = "GPL";

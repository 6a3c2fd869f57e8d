// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
//
// ChannelData in the kernel (RFC 8656 §12): two programs for where a datagram has just come in on an interface. They look up
// what arrives in the table of flows, and what they find there leaves at once: without its ChannelData header toward a peer,
// with one toward a client, with another between two clients of this server. Everything else, and everything odd, goes on to
// the sockets untouched, which know all the rules. Package offload keeps the table.
//
// A flow that leaves where it came in may be XDP's, in the driver or behind it; all others are tcx's, which may hand them to the
// other end of a pair at once (ACROSS). What is written for both has xdp as a constant, and ctx is a struct xdp_md or a struct
// __sk_buff by it.

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

#include "sum.h"
#include "table.h"

#define NEXT (xdp ? XDP_PASS : -1) // TCX_NEXT: to other programs, then to the sockets
#define HEADER 4
#define IN4 2 // AF_INET
#define IN6 10 // AF_INET6
#define FRAGMENT 0x3fff

#define GRACE 2000000000ull // how old the sign of life of user space may be, ns
#define QUIET 50000000ull // after as long without a datagram the sockets have none left, ns
#define LANDED 1000000000ull // and after as long no queue has any, which ACROSS would overtake
#define QUEUED 20000ull // how long a datagram may be on its way to its socket, ns

struct parsed {
	__u32 frame; // bytes that there are
	__u32 iph; // bytes of the IP header
	__u32 payload; // bytes behind the UDP header
	__u32 data; // bytes of the payload that are data
	__be16 length, check; // of UDP
	__be16 size; // of ChannelData
	__u8 tos, ttl;
	__be32 first; // word of an IPv6 header
	__be32 pad; // what is behind the data in their last word
	__u16 station[3]; // to which it was sent
};

// parse reads the headers, and reports false if the sockets are to have the datagram without further ado. key lacks the
// channel.
static __always_inline int parse(void *ctx, const int xdp, struct key *k, struct parsed *p)
{
	struct __sk_buff *skb = ctx;
	void *data = packet(ctx, xdp), *end = packet_end(ctx, xdp);
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
	p->length = udp->len;
	p->check = udp->check;
	k->sport = udp->source;
	k->dport = udp->dest;
	return 1;
}

// channel reads the header of ChannelData as stunmsg.ParseChannelData does, except that no more may follow the data than what
// pads it to whole words.
static __always_inline void channel(void *ctx, const int xdp, struct key *k, struct parsed *p)
{
	__be16 head[2];
	__u32 at = ETH_HLEN + p->iph + sizeof(struct udphdr);
	if (p->payload < HEADER || load(ctx, xdp, at, head, sizeof(head)))
		return;
	if ((head[0] & bpf_htons(0xc000)) != bpf_htons(0x4000))
		return;
	__u32 n = bpf_ntohs(head[1]), behind = p->payload - HEADER - n;
	if (n + HEADER > p->payload || (behind && behind != (-n & 3)))
		return;
	if (behind) { // it is cut off, and its sum with it
		__u32 word = 0;
		if (load(ctx, xdp, at + HEADER + (n & ~3), &word, sizeof(word)))
			return;
		p->pad = word & bpf_htonl(0xffffffff >> (n & 3) * 8);
	}
	p->data = n;
	p->size = head[1];
	k->channel = head[0];
}

// settled reports whether the kernel may relay the flow's next datagram without overtaking one that the sockets still have.
static __always_inline int settled(struct state *s, const struct flow *f)
{
	if (s->taken)
		return 1;
	__u64 now = bpf_ktime_get_ns();
	if (now - s->last > (f->way == ACROSS ? LANDED : QUIET) || s->settled > s->last + QUEUED) {
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

struct rest { struct udphdr udp; __be16 channel, size; __u8 more[8]; };

struct out { // the headers of a datagram that leaves
	__u16 pad, there[3], here[3], proto; // Ethernet, of all ways but TCX
	union {
		struct { struct iphdr ip; struct rest rest; } v4;
		struct { struct ipv6hdr ip; struct rest rest; } v6;
	};
};

// headers fills in o, but for Ethernet's.
static __always_inline struct rest *headers(struct out *o, const struct parsed *p, const struct flow *f, __u16 length)
{
	if (p->iph == sizeof(struct iphdr)) {
		struct iphdr *ip = &o->v4.ip;
		ip->version = 4;
		ip->ihl = 5;
		ip->tos = p->tos;
		ip->tot_len = bpf_htons(sizeof(*ip) + length);
		ip->id = bpf_get_prandom_u32(); // DF is not set, as on sockets
		ip->ttl = p->ttl - 1;
		ip->protocol = IPPROTO_UDP;
		ip->saddr = f->src.w[0];
		ip->daddr = f->dst.w[0];
		ip->check = ~header_sum(ip);
		return &o->v4.rest;
	}
	struct ipv6hdr *ip = &o->v6.ip;
	*(__be32 *)ip = p->first;
	ip->payload_len = bpf_htons(length);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = p->ttl - 1;
	__builtin_memcpy(&ip->saddr, &f->src, sizeof(f->src));
	__builtin_memcpy(&ip->daddr, &f->dst, sizeof(f->dst));
	return &o->v6.rest;
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

#define ODD_SUM 0x10000

// checksum is that of the datagram that leaves, or ODD_SUM. gap is how much has to be taken out of a socket buffer and put back.
static __always_inline __u32 checksum(void *ctx, const int xdp, const struct key *k, const struct parsed *p, const struct flow *f,
				      const struct rest *rest, __u32 begin, __u32 *gap)
{
	__u64 udp = bpf_htons(IPPROTO_UDP), more = (__u64)f->change + 2 * (__u32)rest->udp.len + rest->size, sum;
	if (!p->check)
		return 0;
	// A sender on this machine leaves the checksum to the interface, and only the sum of the pseudo-header (RFC 768, RFC 8200 §8.1)
	// is there. By chance that is so for one in 65 536 others too: then the sum that is computed below is right as well.
	if (fold(p->check) % 0xffff == fold(f->pseudo + p->length + udp) % 0xffff) {
		// Where its checksum belongs is noted in the buffer, and the note cannot be moved. Taking out what is in front of
		// that place voids the note; what was taken out is put back. A driver's frame has no note. Behind the driver
		// it is kept, out of XDP's reach, and several in one piece look like that, too.
		*gap = p->iph + 16;
		if (xdp ? f->way != NATIVE : p->payload < 8 || sizeof(struct udphdr) + p->payload < *gap)
			return ODD_SUM;
		sum = xdp ? xdp_sum(ctx, begin, p->data) : skb_sum(ctx, begin, p->data);
		if (sum == NO_SUM)
			return ODD_SUM;
		sum += more + f->pseudo + k->sport + k->dport + k->channel + udp;
	} else { // in sums of words, the complement is minus
		sum = more + (__u16)~fold((__u64)p->check + 2 * (__u32)p->length + p->size + p->pad);
	}
	sum = (__u16)~fold(sum);
	return sum ? sum : 0xffff;
}

enum { DONE, UNTOUCHED, BROKEN };

#define SHORTEST (sizeof(struct iphdr) + sizeof(struct udphdr))

// write_xdp puts the headers, of that size with those behind Ethernet's, where those of a frame are. What is behind the data
// goes: padding, of ChannelData and of Ethernet.
static __always_inline int write_xdp(struct xdp_md *md, const struct parsed *p, const struct out *o, __u64 size, __s32 delta, __u32 whole)
{
	if (delta && bpf_xdp_adjust_head(md, -delta))
		return UNTOUCHED;
	if ((p->frame > whole && bpf_xdp_adjust_tail(md, (__s32)(whole - p->frame))) || OUTSIDE(size, SHORTEST, sizeof(*o) - 16) ||
	    bpf_xdp_store_bytes(md, 0, (void *)o->there, ETH_HLEN + size))
		return BROKEN;
	return DONE;
}

// write_skb does so with a socket buffer, whose Ethernet header the kernel makes, unless it goes across.
static __always_inline int write_skb(struct __sk_buff *skb, const struct parsed *p, struct out *o, void *behind, __u64 size, __s32 delta, __u32 whole,
				     __u32 begin, __u32 old, __u32 gap, int across)
{
	if (p->frame > whole && bpf_skb_change_tail(skb, whole, 0))
		return UNTOUCHED;
	if (gap) {
		// The headers and the first 8 bytes behind them are taken out.
		if ((old ? bpf_skb_load_bytes(skb, begin, behind, 4) : bpf_skb_load_bytes(skb, begin, behind, 8)) ||
		    bpf_skb_adjust_room(skb, -(__s32)gap, BPF_ADJ_ROOM_MAC, 0))
			return UNTOUCHED;
		size += 8 - old;
		if (bpf_skb_adjust_room(skb, (__s32)gap + delta, BPF_ADJ_ROOM_MAC, 0))
			return BROKEN;
	} else if (delta && bpf_skb_adjust_room(skb, delta, BPF_ADJ_ROOM_MAC, 0)) {
		return UNTOUCHED;
	}
	if (OUTSIDE(size, SHORTEST, sizeof(*o) - 16) || bpf_skb_store_bytes(skb, ETH_HLEN, &o->v4, size, BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH))
		return BROKEN;
	return across && bpf_skb_store_bytes(skb, 0, o->there, ETH_HLEN - sizeof(o->proto), 0) ? BROKEN : DONE;
}

#define PASS(cause) do { c->causes[cause]++; goto pass; } while (0)

// relay relays a datagram, or says that it goes on. It is within a run.
static __always_inline int relay(void *ctx, const int xdp, struct cpu *c, struct key *k, struct parsed *p)
{
	struct __sk_buff *skb = ctx;
	struct xdp_md *md = ctx;
	struct record *r = 0;
	if (k->channel)
		r = find(c, k);
	if (!r) {
		k->channel = p->size = p->pad = 0;
		p->data = p->payload;
		if (!(r = find(c, k)))
			return NEXT;
	}
	struct flow *f = &r->flow;
	struct state *s = &r->state;
	// XDP has seen what comes in where its flows leave, and other stations' frames too.
	if ((f->way >= NATIVE && f->interface == (xdp ? md->ingress_ifindex : skb->ifindex)) != xdp ||
	    (xdp && ((p->station[0] ^ f->here[0]) | (p->station[1] ^ f->here[1]) | (p->station[2] ^ f->here[2]))))
		return NEXT;
	if (!xdp && skb->gso_size) // several in one piece
		PASS(MERGED);
	__u64 now = bpf_ktime_get_coarse_ns();
	if (now >= *(volatile __u64 *)&f->expires || now > *(volatile __u64 *)&c->alive + GRACE)
		PASS(EXPIRED);
	__u32 old = k->channel ? HEADER : 0, begin = ETH_HLEN + p->iph + sizeof(struct udphdr) + old;
	__u32 type = stun(ctx, xdp, begin, p->data);
	if (type == REQUEST)
		__sync_fetch_and_add(&s->requests, 1);
	else if (type == ANSWER || type == REFUSAL)
		__sync_fetch_and_add(&s->answers, 1);
	if (*(volatile __u32 *)&s->held)
		PASS(PROVING);
	if (!settled(s, f)) {
		c->causes[SETTLING]++;
		return NEXT;
	}

	__u32 head = f->channel ? HEADER : 0, length = sizeof(struct udphdr) + head + p->data, interface = f->interface, gap = 0;
	if (p->iph + length > f->mtu)
		PASS(LONG);
	struct out o = {};
	struct rest *rest = headers(&o, p, f, length);
	rest->udp = (struct udphdr){ .source = f->sport, .dest = f->dport, .len = bpf_htons(length) };
	rest->channel = f->channel;
	rest->size = head ? bpf_htons(p->data) : 0;
	__u32 sum = checksum(ctx, xdp, k, p, f, rest, begin, &gap);
	if (sum == ODD_SUM)
		PASS(ODD);
	rest->udp.check = sum;
	struct bpf_redir_neigh hop = { .nh_family = k->family };
	__s32 delta = (__s32)head - (__s32)old, size = p->iph + sizeof(struct udphdr) + head;
	int done, across = f->way == ACROSS;
	__builtin_memcpy(o.there, f->there, sizeof(o.there) + sizeof(o.here));
	if (xdp) {
		o.proto = k->family == IN4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
		done = write_xdp(md, p, &o, size, delta, begin + p->data);
	} else {
		__builtin_memcpy(hop.ipv6_nh, &f->hop, sizeof(hop.ipv6_nh));
		done = write_skb(skb, p, &o, head ? rest->more : (void *)&rest->channel, size, delta, begin + p->data, begin, old, gap, across);
	}
	if (done == UNTOUCHED)
		PASS(FAILED);
	if (done == BROKEN) {
		c->causes[FAILED]++;
		return xdp ? XDP_DROP : TC_ACT_SHOT;
	}
	__sync_fetch_and_add(&s->datagrams, 1);
	__sync_fetch_and_add(&s->bytes, p->data);
	c->causes[TAKEN]++;
	if (type == REQUEST)
		__sync_fetch_and_add(&s->asked, 1);
	// Of what XDP_TX sends, a veth does not tell its other end.
	if (xdp)
		return bpf_redirect(interface, 0);
	return across ? bpf_redirect_peer(interface, 0) : bpf_redirect_neigh(interface, &hop, sizeof(hop), 0);
pass:
	s->last = bpf_ktime_get_ns();
	s->taken = 0;
	__sync_fetch_and_add(&s->passed, 1);
	return NEXT;
}

static __always_inline int run(void *ctx, const int xdp)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct key k __attribute__((aligned(8))) = {};
	struct parsed p = {};
	struct cpu *c = bpf_map_lookup_elem(&cpus, &cpu);
	if (!c || !parse(ctx, xdp, &k, &p))
		return NEXT;
	channel(ctx, xdp, &k, &p);
	// Fetching makes them full barriers: what user space sees as left has not seen what it took out of the table before.
	__u64 runs = __sync_fetch_and_add(&c->entered, 1);
	asm volatile("" ::"r"(runs));
	int verdict = relay(ctx, xdp, c, &k, &p);
	runs = __sync_fetch_and_add(&c->left, 1);
	asm volatile("" ::"r"(runs));
	return verdict;
}

SEC("tcx/ingress") int turn(struct __sk_buff *skb) { return skb->pkt_type || skb->vlan_present ? -1 : run(skb, 0); }

SEC("xdp") int turn_xdp(struct xdp_md *md) { return run(md, 1); }

char _license[] SEC("license") = "GPL";

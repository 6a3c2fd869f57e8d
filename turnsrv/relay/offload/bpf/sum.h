// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
//
// Sums of 16-bit words in one's complement (RFC 1071), for relay.c.

#pragma once

#include <linux/bpf.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

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

static __always_inline long load(void *ctx, const int xdp, __u32 at, void *to, __u32 n)
{
	return xdp ? bpf_xdp_load_bytes(ctx, at, to, n) : bpf_skb_load_bytes(ctx, at, to, n);
}

static __always_inline void *packet(void *ctx, const int xdp)
{
	return (void *)(long)(xdp ? ((struct xdp_md *)ctx)->data : ((struct __sk_buff *)ctx)->data);
}

static __always_inline void *packet_end(void *ctx, const int xdp)
{
	return (void *)(long)(xdp ? ((struct xdp_md *)ctx)->data_end : ((struct __sk_buff *)ctx)->data_end);
}

#define CHUNK 512 // the most that bpf_csum_diff takes

struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __uint(value_size, CHUNK + 4); __uint(max_entries, 1); } chunks SEC(".maps");

#define NO_SUM (1ull << 32)

// payload_sum is the sum of n bytes at offset at, or NO_SUM: of whole chunks that lie in one piece where they are, of others
// where they have been copied to.
static __always_inline __u64 payload_sum(void *ctx, const int xdp, __u32 at, __u32 n)
{
	__u32 zero = 0;
	__u8 *chunk = bpf_map_lookup_elem(&chunks, &zero);
	__s64 s = 0;
	if (!chunk)
		return NO_SUM;
	for (int i = 0; i < 18 && n; i++) {
		__u64 size = n < CHUNK ? n : CHUNK;
		void *here = packet(ctx, xdp) + (at & 0x3fff); // for the verifier: at is below 9300
		if (n >= CHUNK && here + CHUNK <= packet_end(ctx, xdp)) {
			s = bpf_csum_diff(0, 0, here, CHUNK, s);
			at += CHUNK;
			n -= CHUNK;
			continue;
		}
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

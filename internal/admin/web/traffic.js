// How fast a Node's allocations relay, as far as this page has seen.

const KEEP = 300_000; // ms
const MOST = 200; // Nodes that are remembered

const nodes = new Map(); // by id: {time, seen: bytes by allocation, points}

/** ratesOf takes what a Node's live allocations have relayed by now, and returns {time, in, out} of the last minutes. */
export function ratesOf(id, allocations) {
  const now = Date.now();
  const was = nodes.get(id);
  const seen = new Map(allocations.map((a) => [a.id, [a.bytes_in, a.bytes_out]]));
  let points = was?.points ?? [];
  if (was && now - was.time < 1000) return points;
  if (was && now - was.time < 10_000) {
    const seconds = (now - was.time) / 1000;
    const sum = { time: now, in: 0, out: 0 };
    for (const [key, [inward, outward]] of seen) {
      const [before, after] = was.seen.get(key) ?? [0, 0]; // all of a new one has come since
      sum.in += Math.max(0, inward - before) / seconds;
      sum.out += Math.max(0, outward - after) / seconds;
    }
    points = [...points.filter((p) => p.time > now - KEEP), sum];
  }
  nodes.delete(id);
  nodes.set(id, { time: now, seen, points });
  if (nodes.size > MOST) nodes.delete(nodes.keys().next().value);
  return points;
}

// Small lines of how fast something relayed while this page has been open.

import { svg } from "./dom.js";

const W = 96;
const H = 20;
const KEEP = 48; // values of each line
const MOST = 2000; // lines that are remembered

const lines = new Map(); // values by key; what was looked at last is last

/** history are the values that spark was given for a key, the oldest first: {time, value}. */
export function history(key) {
  return lines.get(key) ?? [];
}

/** note adds a value to a key's line. Two within a second and a half, such as of two views, count as one. */
export function note(key, value) {
  const line = lines.get(key) ?? [];
  lines.delete(key);
  lines.set(key, line);
  if (lines.size > MOST) lines.delete(lines.keys().next().value);
  const now = Date.now();
  if (line.length === 0 && value === 0) return line; // not measured yet, or nothing to show
  if (line.length && now - line.at(-1).time < 1500) return line;
  line.push({ time: now, value });
  if (line.length > KEEP) line.shift();
  return line;
}

/**
 * spark adds a value to a key's line and draws it; its top stands for least at least. The number stands beside it, so it says nothing
 * to a screen reader.
 */
export function spark(key, value, least = 1000) {
  const line = note(key, value);
  const top = Math.max(least, ...line.map((p) => p.value));
  const d = line.map((p, i) => `${i ? "L" : "M"}${(W - ((line.length - 1 - i) * W) / (KEEP - 1)).toFixed(1)} ${(H - 1 - ((H - 2) * p.value) / top).toFixed(1)}`).join("");
  return svg("svg", { class: "spark", viewBox: `0 0 ${W} ${H}`, width: W, height: H, "aria-hidden": "true" }, svg("path", { d }));
}

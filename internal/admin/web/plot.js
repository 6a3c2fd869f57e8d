// A plot of bytes per second over the last minutes, as SVG.

import { bytes, duration, h, setText, svg, table } from "./dom.js";

const H = 220;
const LEFT = 74;
const RIGHT = 8;
const BOTTOM = 24;
const TOP = 10;
const SHORTEST = 60_000; // ms shown at first …
const LONGEST = 300_000; // … and at most

/** plot makes the figure; update(points) draws. Points are {time, in, out}, the oldest first. */
export function plot(signal) {
  const grid = svg("g", { class: "grid" });
  const lines = { in: svg("path", { class: "line in" }), out: svg("path", { class: "line out" }) };
  const areas = { in: svg("path", { class: "area in" }), out: svg("path", { class: "area out" }) };
  const picture = svg("svg", { role: "img", "aria-labelledby": "plot-words" }, grid, areas.in, areas.out, lines.in, lines.out);
  const words = h("p", { id: "plot-words", class: "hint" });
  const rows = table("Bytes per second, the mean of 10 seconds each, the newest first", [["Until"], ["From Nodes to their peers", "num"], ["From peers to Nodes", "num"]], {
    key: (r) => r.until,
    make: (r) => [new Date(r.until).toLocaleTimeString(), bytes(r.in) + "/s", bytes(r.out) + "/s"],
    empty: "No figures yet.",
  });
  const el = h("figure", { class: "plot" },
    h("div", { class: "legend" },
      h("span", { class: "key in", text: "from Nodes to their peers" }),
      h("span", { class: "key out", text: "from peers to Nodes" })),
    picture, words, h("details", { on: { toggle: (e) => { open = e.target.open; draw(); } } }, h("summary", { text: "As a table" }), rows.el));
  let open = false;
  let width = 720; // CSS pixels, so that text keeps its size on any screen
  let points = [];

  function draw() {
    const now = points.length ? points[points.length - 1].time : Date.now();
    const span = points.length ? Math.min(LONGEST, Math.max(SHORTEST, now - points[0].time)) : SHORTEST;
    const shown = points.filter((p) => p.time >= now - span);
    const peak = Math.max(0, ...shown.flatMap((p) => [p.in, p.out]));
    const top = nice(peak);
    const x = (t) => LEFT + (width - LEFT - RIGHT) * (1 - (now - t) / span);
    const y = (v) => TOP + (H - BOTTOM - TOP) * (1 - v / top);
    picture.setAttribute("viewBox", `0 0 ${width} ${H}`);
    drawGrid(grid, width, top, y, span);
    for (const way of ["in", "out"]) {
      lines[way].setAttribute("d", path(shown, (p) => [x(p.time), y(p[way])]));
      areas[way].setAttribute("d", area(shown, (p) => [x(p.time), y(p[way])], y(0)));
    }
    if (open) rows.update(means(points).slice(-12).reverse());
    const last = shown[shown.length - 1];
    setText(words, last
      ? `Now ${bytes(last.in)}/s from Nodes and ${bytes(last.out)}/s to them; at most ${bytes(peak)}/s in the last ${duration(span / 1000)}.`
      : "No figures yet.");
  }
  const observer = new ResizeObserver(([entry]) => {
    width = Math.max(240, Math.round(entry.contentRect.width));
    draw();
  });
  observer.observe(el);
  signal.addEventListener("abort", () => observer.disconnect());
  function update(list) {
    points = list;
    draw();
  }
  return { el, update };
}

// means sums points up by tens of seconds.
function means(points) {
  const sums = new Map();
  for (const p of points) {
    const until = Math.ceil(p.time / 10_000) * 10_000;
    const sum = sums.get(until) ?? { until, in: 0, out: 0, n: 0 };
    sums.set(until, { until, in: sum.in + p.in, out: sum.out + p.out, n: sum.n + 1 });
  }
  return [...sums.values()].map((s) => ({ until: s.until, in: s.in / s.n, out: s.out / s.n }));
}

// nice is the next round number at or above v.
function nice(v) {
  if (v <= 1000) return 1000;
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 4, 5, 10].find((f) => f * power >= v) * power;
}

function drawGrid(grid, width, top, y, span) {
  const parts = [];
  for (let i = 0; i <= 4; i++) {
    const v = (top * i) / 4;
    parts.push(svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v) }),
      svg("text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end", text: bytes(v) + "/s" }));
  }
  const steps = width < 480 ? 2 : 4;
  for (let i = 0; i <= steps; i++) {
    const x = LEFT + ((width - LEFT - RIGHT) * (steps - i)) / steps;
    parts.push(svg("text", { x, y: H - 6, "text-anchor": i === 0 ? "end" : "middle", text: i === 0 ? "now" : "−" + duration((span * i) / steps / 1000) }));
  }
  grid.replaceChildren(...parts);
}

// path joins points that follow each other; a gap of more than 5 s, where the connection was lost, stays one.
function path(points, at) {
  let d = "";
  points.forEach((p, i) => {
    const [x, y] = at(p);
    const gap = i === 0 || p.time - points[i - 1].time > 5000;
    d += `${gap ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return d;
}

function area(points, at, zero) {
  let d = "";
  let start = 0;
  points.forEach((p, i) => {
    const next = points[i + 1];
    if (next && next.time - p.time <= 5000) return;
    const run = points.slice(start, i + 1);
    d += path(run, at) + `L${at(p)[0].toFixed(1)} ${zero}L${at(run[0])[0].toFixed(1)} ${zero}Z`;
    start = i + 1;
  });
  return d;
}

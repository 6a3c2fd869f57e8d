// A plot of bytes per second over time, as SVG. A pointer or the arrow keys read its values.

import { bytes, duration, h, setText, svg, table } from "./dom.js";

const LEFT = 74;
const RIGHT = 8;
const BOTTOM = 24;
const TOP = 14;

let number = 0; // for ids

/**
 * plot makes the figure; update(points, {until, span, gap, marks}) draws. Points are {time, in, out} in bytes per second, the
 * oldest first; what is more than gap ms apart, or than a point's own gap, is not joined. Marks are {time, kind, text}: what happened then.
 */
export function plot(signal, { height = 220, names = ["from Nodes to their peers", "from peers to Nodes"] } = {}) {
  const id = "plot-" + ++number;
  const grid = svg("g", { class: "grid" });
  const lines = { in: svg("path", { class: "line in" }), out: svg("path", { class: "line out" }) };
  const areas = { in: svg("path", { class: "area in" }), out: svg("path", { class: "area out" }) };
  const flags = svg("g", { class: "marks" });
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: height - BOTTOM });
  const picture = svg("svg", { "aria-hidden": "true", height }, grid, areas.in, areas.out, lines.in, lines.out, flags, cursor);
  const words = h("p", { id, class: "hint reading" });
  // What a slider is: one of many values is chosen with the arrow keys, and read out.
  const reader = h("div", { class: "reader", role: "slider", tabindex: "0", "aria-label": "Value at a time", "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0" }, picture);
  const rows = table("Bytes per second, the newest first", [["Until"], ["From Nodes to their peers", "num"], ["From peers to Nodes", "num"], ["What happened"]], {
    key: (r) => r.time,
    make: (r) => [clock(r.time), bytes(r.in) + "/s", bytes(r.out) + "/s", r.marks.join("; ") || "–"],
    empty: "No figures yet.",
  });
  const details = h("details", { on: { toggle: () => draw() } }, h("summary", { text: "As a table" }), rows.el);
  const el = h("figure", { class: "plot" },
    h("div", { class: "legend" }, h("span", { class: "key in", text: names[0] }), h("span", { class: "key out", text: names[1] })),
    reader, words, details);
  let width = 720; // CSS pixels, so that text keeps its size on any screen
  let points = [];
  let frame = { until: Date.now(), span: 60_000, gap: 5000, marks: [] };
  let at = null; // the time that is read; null: now

  const x = (t) => LEFT + (width - LEFT - RIGHT) * (1 - (frame.until - t) / frame.span);
  const clock = (t) => new Date(t).toLocaleString([], frame.span > 86_400_000
    ? { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }
    : { hour: "2-digit", minute: "2-digit", second: frame.span > 600_000 ? undefined : "2-digit" });

  function draw() {
    const { until, span, gap, marks } = frame;
    const shown = points.filter((p) => p.time >= until - span && p.time <= until);
    const peak = Math.max(0, ...shown.map((p) => Math.max(p.in, p.out)));
    const top = nice(peak);
    const y = (v) => TOP + (height - BOTTOM - TOP) * (1 - v / top);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawGrid(grid, { width, height, top, y, span });
    for (const way of ["in", "out"]) {
      const runs = joined(shown, gap).map((run) => run.map((p) => [x(p.time), y(p[way])]));
      lines[way].setAttribute("d", runs.map(line).join(""));
      areas[way].setAttribute("d", runs.map((run) => `${line(run)}L${run.at(-1)[0].toFixed(1)} ${y(0)}L${run[0][0].toFixed(1)} ${y(0)}Z`).join(""));
    }
    const seen = marks.filter((m) => m.time >= until - span && m.time <= until);
    flags.replaceChildren(...seen.map((m) => svg("g", { class: "mark " + m.kind },
      svg("line", { x1: x(m.time), x2: x(m.time), y1: TOP, y2: height - BOTTOM }),
      svg("path", { d: `M${x(m.time) - 4} ${TOP - 8}h8l-4 7z` }))));
    read(shown, seen, peak);
    if (details.open) rows.update(sample(shown, seen, 60));
  }

  // read says what is at the cursor, or at the end where there is none.
  function read(shown, marks, peak) {
    const last = shown.at(-1);
    const here = at === null ? last : nearest(shown, at);
    cursor.toggleAttribute("hidden", at === null || !here);
    reader.setAttribute("aria-valuemax", String(Math.max(0, shown.length - 1)));
    reader.setAttribute("aria-valuenow", String(Math.max(0, shown.indexOf(here))));
    if (!here) {
      setText(words, "No figures yet.");
      reader.setAttribute("aria-valuetext", "No figures yet");
      return;
    }
    const values = `${bytes(here.in)}/s ${names[0]}, ${bytes(here.out)}/s ${names[1]}`;
    const near = marks.filter((m) => Math.abs(x(m.time) - x(here.time)) < 6).map((m) => m.text);
    if (at !== null) {
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(here.time).toFixed(1));
      setText(words, [`${clock(here.time)}: ${values}`, ...near].join(". "));
    } else {
      setText(words, `Now ${values}; at most ${bytes(peak)}/s in the last ${duration(frame.span / 1000)}.`);
    }
    reader.setAttribute("aria-valuetext", [`${clock(here.time)}: ${values}`, ...near].join(". "));
  }

  reader.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    at = frame.until - frame.span * (1 - (((event.clientX - box.left) * width) / box.width - LEFT) / (width - LEFT - RIGHT));
    draw();
  });
  const away = () => {
    at = null;
    draw();
  };
  reader.addEventListener("pointerleave", away);
  reader.addEventListener("blur", away);
  reader.addEventListener("keydown", (event) => {
    const shown = points.filter((p) => p.time >= frame.until - frame.span && p.time <= frame.until);
    if (event.key === "Escape" && at !== null) return away();
    const i = shown.indexOf(nearest(shown, at ?? frame.until));
    const to = { ArrowLeft: i - 1, ArrowDown: i - 1, ArrowRight: i + 1, ArrowUp: i + 1, PageUp: i + 10, PageDown: i - 10, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined || shown.length === 0) return undefined;
    event.preventDefault();
    at = shown[Math.min(Math.max(to, 0), shown.length - 1)].time;
    return draw();
  });

  const observer = new ResizeObserver(([entry]) => {
    width = Math.max(240, Math.round(entry.contentRect.width));
    draw();
  });
  observer.observe(reader);
  signal.addEventListener("abort", () => observer.disconnect());
  function update(list, next) {
    points = list;
    frame = { gap: 5000, marks: [], ...next };
    draw();
  }
  return { el, update };
}

function nearest(points, time) {
  let best = points[0];
  for (const p of points) if (Math.abs(p.time - time) < Math.abs(best.time - time)) best = p;
  return best;
}

// joined splits points where more than gap ms lie between two.
function joined(points, gap) {
  const runs = [];
  points.forEach((p, i) => {
    if (i === 0 || p.time - points[i - 1].time > (p.gap ?? gap)) runs.push([]);
    runs.at(-1).push(p);
  });
  return runs;
}

function line(run) {
  return run.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

// sample sums points up to n rows at most, the newest first.
function sample(points, marks, n) {
  const each = Math.max(1, Math.ceil(points.length / n));
  const rows = [];
  for (let end = points.length; end > 0; end -= each) {
    const part = points.slice(Math.max(0, end - each), end);
    const from = points[Math.max(0, end - each) - 1]?.time ?? 0;
    const mean = (way) => part.reduce((sum, p) => sum + p[way], 0) / part.length;
    const time = part.at(-1).time;
    rows.push({ time, in: mean("in"), out: mean("out"), marks: marks.filter((m) => m.time > from && m.time <= time).map((m) => m.text) });
  }
  return rows;
}

// nice is the next round number at or above v.
function nice(v) {
  if (v <= 1000) return 1000;
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 4, 5, 10].find((f) => f * power >= v) * power;
}

function drawGrid(grid, { width, height, top, y, span }) {
  const parts = [];
  const rows = height < 180 ? 2 : 4;
  for (let i = 0; i <= rows; i++) {
    const v = (top * i) / rows;
    parts.push(svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v) }),
      svg("text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end", text: bytes(v) + "/s" }));
  }
  const steps = width < 480 ? 2 : 4;
  for (let i = 0; i <= steps; i++) {
    const x = LEFT + ((width - LEFT - RIGHT) * (steps - i)) / steps;
    parts.push(svg("text", { x, y: height - 6, "text-anchor": i === 0 ? "end" : "middle", text: i === 0 ? "now" : "−" + duration((span * i) / steps / 1000) }));
  }
  grid.replaceChildren(...parts);
}

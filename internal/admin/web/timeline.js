// The plot of what is relayed, over the last minutes as it happens, or over a day or a month as the server remembers.

import { every } from "./actions.js";
import { call, recall } from "./api.js";
import { h, printable } from "./dom.js";
import { plot } from "./plot.js";
import { store } from "./store.js";

const RANGES = [
  { name: "5 min", span: 300_000 },
  { name: "1 h", span: 3_600_000, step: "minute" },
  { name: "24 h", span: 86_400_000, step: "minute" },
  { name: "30 d", span: 30 * 86_400_000, step: "hour" },
];
const MARKS = { banned: "ban", unbanned: "ban", reloaded: "reload", address: "reload" };
const KEY = "crolang-aio-range";

/**
 * timeline makes the plot with its ranges; draw() shows what has come. It is of all Nodes; or of one, whose last minutes live() returns as
 * points. While forgetful() is true they are of something that the server remembers nothing of. choose is a control beside the ranges.
 */
export function timeline(signal, { node, live = () => store.points, forgetful = () => false, choose, heading = "Relayed", ...looks } = {}) {
  const figure = plot(signal, looks);
  const remembered = {}; // by step
  let chosen = RANGES.find((r) => r.name === recall(() => localStorage.getItem(KEY)));
  const buttons = RANGES.map((r) => h("button", {
    type: "button", class: "chip", text: r.name,
    on: { click: () => { chosen = r; recall(() => localStorage.setItem(KEY, r.name)); ask(); draw(); } },
  }));
  const choice = h("div", { class: "chips", role: "group", "aria-label": "Range", hidden: true }, ...buttons);
  const el = h("section", {}, h("div", { class: "row" }, h("h2", { text: heading }), choose ?? "", choice), figure.el);

  // beforeLive are the minutes that the server remembers of before this page was opened.
  function beforeLive([first]) {
    if (!remembered.minute || forgetful()) return [];
    const before = pointsOf(remembered.minute).filter((p) => !first || p.time < first.time);
    if (first && before.length) first.gap = 1.5 * remembered.minute.step * 1000; // joins them
    return before;
  }

  // shown is the range that was chosen; else the longest that there is something to show of.
  function shown() {
    if (choice.hidden || forgetful()) return RANGES[0];
    if (chosen) return chosen;
    if (node) return RANGES[0]; // what it does now
    const minutes = remembered.minute?.in.filter((value) => value !== null).length ?? 0;
    return RANGES[minutes > 90 ? 2 : minutes > 10 ? 1 : 0];
  }

  const ask = every(30_000, signal, async () => {
    if (!store.status?.history) return; // this server keeps none
    for (const step of new Set(["minute", chosen?.step ?? "minute"])) {
      remembered[step] = await call("GET", "/api/history", { query: node ? { step, node } : { step }, signal });
    }
    choice.hidden = false;
    draw();
  });

  function draw() {
    const range = shown();
    buttons.forEach((b, i) => {
      b.setAttribute("aria-pressed", String(RANGES[i] === range));
      b.disabled = forgetful() && i > 0;
    });
    const past = range.step && remembered[range.step];
    if (range.step && !past) return; // it is on its way
    const points = live();
    const now = points.at(-1)?.time ?? Date.now();
    if (!past) {
      const before = beforeLive(points);
      const span = before.length || node ? range.span : Math.min(range.span, Math.max(60_000, now - (points[0]?.time ?? now)));
      figure.update([...before, ...points], { until: now, span, gap: node ? 10_000 : 5000, marks: marks(node) });
      return;
    }
    const end = new Date(past.until).getTime();
    const each = past.step * 1000;
    const until = Math.max(end, now);
    const newer = past.marks.length ? new Date(past.marks.at(-1).time).getTime() + 1000 : 0; // than what the server told of
    figure.update(pointsOf(past), { until, span: range.span, gap: 1.5 * each, marks: [...past.marks.map(mark), ...marks(node).filter((m) => m.time > newer)] });
  }
  return { el, draw };
}

/** pointsOf makes points of what /api/history answered: the last at its time, those before it at the whole minutes or hours that they end at. */
export function pointsOf({ until, step, in: inward, out }) {
  const [end, each, last] = [new Date(until).getTime(), step * 1000, inward.length - 1];
  const time = (i) => (i === last ? end : Math.floor(end / each) * each - (last - 1 - i) * each);
  return inward.flatMap((value, i) => (value === null ? [] : [{ time: time(i), in: value, out: out[i], gap: 1.5 * each }]));
}

const mark = (e) => ({ time: new Date(e.time).getTime(), kind: MARKS[e.kind] ?? "restart", text: `${e.node ? printable(e.node) + " " : ""}${printable(e.detail)}` });

// marks are the events of the last hour that may explain what a plot shows: of a Node alone where it is that of one.
function marks(node) {
  const list = store.notes.filter((n) => Object.hasOwn(MARKS, n.kind) && (!node || !n.node || n.node === node)).map(mark);
  if (store.status) list.push({ time: new Date(store.status.started).getTime(), kind: "restart", text: "the server was started" });
  return list;
}

// The machines of a fleet, as the one that answers knows them. Without a fleet there is no such view.

import { every } from "./actions.js";
import { call } from "./api.js";
import { bytes, count, duration, facts, h, printable, sentence, setText, table } from "./dom.js";
import { plot } from "./plot.js";
import { note, spark } from "./spark.js";

export const title = "Machines";

const STATES = {
  up: ["up", "good"], draining: ["draining", ""], full: ["full", "bad"], silent: ["silent", "bad"], left: ["left", ""], strange: ["strange", "bad"], apart: ["apart", "bad"],
};

const PRESENT = ["up", "draining", "full"];

function stateTag(m) {
  const [text, kind] = STATES[m.state] ?? [m.state, ""];
  return h("span", { class: "tag " + kind, text });
}

const percent = (part, whole) => (whole > 0 ? `${Math.round((100 * part) / whole)} %` : "–");

// lately is a figure with its line of the last minutes below.
const lately = (text, line) => h("span", { class: "lately" }, text, line);

const keyOf = (m) => `machine ${m.process}`;

function lead(f) {
  const there = f.machines.filter((m) => PRESENT.includes(m.state));
  const wrong = f.machines.filter((m) => ["silent", "strange", "apart"].includes(m.state) || (m.differs.length && m.state !== "left"));
  if (f.redis) return [`Redis cannot be used: ${printable(f.redis)}. Calls go on; bans hold where they are made.`, "bad"];
  if (wrong.length) return [`${count(there.length)} of ${count(f.machines.length)} machines serve. To look at: ${wrong.map((m) => printable(m.name)).join(", ")}.`, "warn"];
  return [there.length === 1 ? "One machine serves." : `All ${count(there.length)} machines that are there serve, and are alike.`, "good"];
}

export function show(main, _, signal) {
  const words = h("p", { class: "lead", "aria-live": "polite", text: "…" });
  const figure = plot(signal, { height: 160, names: ["relayed by all", "relayed by this machine"] });
  const about = h("div");
  const list = table("Machines of the fleet", [
    ["Machine", "c-id"], ["Region"], ["State", "c-rate"], ["Relays", "num c-skip"], ["Traffic", "num c-seen"], ["CPU", "num c-skip"], ["Free ports", "num c-skip"], ["Nodes", "num c-skip"], ["Version", "c-skip"], ["To look at", "c-more"],
  ], {
    kind: "lines",
    key: (m) => m.process,
    make: (m) => {
      const here = PRESENT.includes(m.state);
      return [
        h("span", {}, h("bdi", { class: "id", text: printable(m.name) }), m.here ? h("span", { class: "tag", text: "this one" }) : null),
        printable(m.region ?? "") || "–", stateTag(m),
        lately(m.limit ? `${count(m.allocations)} of ${count(m.limit)}` : count(m.allocations), spark(keyOf(m) + " allocations", here ? m.allocations : 0, 10)),
        lately(`${bytes(m.bits_per_second / 8)}/s`, spark(keyOf(m), here ? m.bits_per_second / 8 : 0)),
        lately(`${Math.round(100 * m.cpu)} %`, spark(keyOf(m) + " cpu", here ? m.cpu : 0, 1)),
        percent(m.free_ports, m.ports), count(m.nodes), printable(m.version), remarks(m),
      ];
    },
    empty: "No machine is known.",
  });
  main.append(words,
    h("section", {}, h("h2", { text: "Traffic since this page was opened" }), figure.el),
    h("section", {}, h("h2", { text: "Machines" }), list.el),
    h("section", {}, h("h2", { text: "What they share" }), about));
  const points = [];
  every(2000, signal, async () => {
    const f = await call("GET", "/api/fleet", { signal });
    const [text, kind] = lead(f);
    setText(words, text);
    words.className = "lead " + kind;
    for (const m of f.machines) if (PRESENT.includes(m.state)) note(keyOf(m), m.bits_per_second / 8);
    list.update(f.machines);
    const sum = (ms) => ms.reduce((n, m) => n + m.bits_per_second / 8, 0);
    points.push({ time: Date.now(), in: sum(f.machines.filter((m) => PRESENT.includes(m.state))), out: sum(f.machines.filter((m) => m.here)) });
    if (points.length > 300) points.shift();
    figure.update(points, { until: Date.now(), span: 5 * 60_000, gap: 15_000 });
    about.replaceChildren(facts([
      ["Redis", f.redis ? printable(f.redis) : "usable"],
      ["Bans", f.unshared ? `${count(f.bans)}; not shared yet: ${count(f.unshared)}` : count(f.bans)],
      ["Relays of all", count(f.machines.filter((m) => PRESENT.includes(m.state)).reduce((n, m) => n + m.allocations, 0))],
    ]));
  });
}

// remarks says what is not as it should be with a machine.
function remarks(m) {
  const all = [];
  if (m.differs.length) all.push(`another ${m.differs.map(printable).join(", ")}`);
  if (Math.abs(m.skew_seconds) > 30) all.push(`its clock is ${duration(m.skew_seconds)} ${m.skew_seconds > 0 ? "ahead" : "behind"}`);
  if (!m.takes && PRESENT.includes(m.state)) all.push("does not take credentials of this one");
  if (!m.here && m.heard_seconds > 10) all.push(`last heard of ${duration(m.heard_seconds)} ago`);
  return all.length ? sentence(all.join("; ")) : "–";
}

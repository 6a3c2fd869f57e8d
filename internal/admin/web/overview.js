// The overview: are calls going through, and if not, whose and why.

import { every } from "./actions.js";
import { call } from "./api.js";
import { ago, bytes, count, h, nodeLink, printable, setText, table, updateAgo } from "./dom.js";
import { causes } from "./causes.js";
import { failures, leading, ways } from "./connections.js";
import { firstSteps } from "./firstrun.js";
import { store, watch } from "./store.js";
import { timeline } from "./timeline.js";

export const title = "Overview";

const DOCTOR = "crolang-aio-doctor-"; // begins the Nodes of the command doctor, whose doings are nobody's
const [FEW, MANY] = [12, 100]; // events

function card(name) {
  const value = h("p", { class: "big", text: "–" });
  const more = h("p", { class: "hint", text: " " });
  return { el: h("div", { class: "figure", role: "group", "aria-label": name }, h("p", { class: "label", text: name }), value, more), value, more };
}

export function show(main, _, signal) {
  const lead = h("p", { class: "lead", id: "lead" });
  const first = firstSteps();
  const day = timeline(signal);
  const cards = {
    nodes: card("Nodes connected"), allocations: card("Live allocations"), traffic: card("Relayed"),
    refusals: card("Refusals"), drops: card("Dropped"), bans: card("Bans"),
  };
  const failed = failures();
  const way = ways();
  const counted = counters();
  const feed = eventFeed();
  main.append(
    lead, first.el, day.el,
    h("section", { class: "figures", "aria-label": "In figures" }, ...Object.values(cards).map((c) => c.el)),
    h("div", { class: "two" }, failed.el, way.el), feed.el, counted.el);

  let connections = null;
  const refresh = every(5000, signal, async () => {
    connections = await call("GET", "/api/connections", { signal });
    drawStats();
  });

  function drawStats() {
    const s = store.stats;
    if (!s) return;
    const refusals = causes(s.refusals);
    const now = store.points.at(-1);
    const { kind, text } = leading(s, connections, now ? now.in + now.out : 0);
    setText(lead, text);
    lead.className = "lead " + kind;
    first.update(s, connections, store.status);
    setText(cards.nodes.value, count(s.connected));
    setText(cards.nodes.more, `${count(s.nodes)} remembered`);
    setText(cards.allocations.value, count(s.allocations));
    setText(cards.allocations.more, Object.entries(s.by_transport).filter(([, n]) => n > 0).map(([t, n]) => `${t.toUpperCase()} ${count(n)}`).join(", ") || `${count(s.opened)} were made`);
    setText(cards.traffic.value, bytes(s.bytes_in + s.bytes_out));
    setText(cards.traffic.more, "since the start");
    const real = refusals.filter((r) => !r.usual && r.n > 0);
    setText(cards.refusals.value, count(real.reduce((sum, r) => sum + r.n, 0)));
    setText(cards.refusals.more, real.length ? `most: ${real[0].cause.replaceAll("_", " ")}` : "none");
    setText(cards.drops.value, count(s.drops));
    const dropped = s.losses.find((l) => l.area === "datagrams");
    setText(cards.drops.more, dropped ? `most: ${dropped.cause.replaceAll("_", " ")}` : "datagrams");
    setText(cards.bans.value, count(s.bans));
    setText(cards.bans.more, "in force");
    day.draw();
    failed.update(connections, store.notes);
    way.update(connections);
    counted.update(s, refusals);
  }

  // Many events a second are drawn together.
  let due = false;
  watch(signal, (what) => {
    if (what === "stats") {
      drawStats();
      feed.tick();
    } else if (!due) {
      due = true;
      setTimeout(() => {
        due = false;
        if (signal.aborted) return;
        feed.draw();
        failed.update(connections, store.notes);
        if (store.notes[0]?.kind === "signal") refresh();
      }, 250);
    }
  });
  drawStats();
  feed.draw();
}

// eventFeed lists the events of the last hour, and those that happen.
function eventFeed() {
  const onlyRefusals = h("input", { type: "checkbox", id: "only-refusals" });
  let most = FEW;
  const more = h("button", { type: "button", class: "small", on: { click: () => { most = most === FEW ? MANY : FEW; draw(); } } });
  const list = table("Events", [["When", "c-seen"], ["Node", "c-id"], ["Kind", "c-rate"], ["What happened", "c-more"]], {
    kind: "lines events",
    key: (n) => n.number,
    make: (n) => [
      ago(n.time), n.node ? nodeLink(n.node) : "the server", h("span", { class: n.failed ? "tag bad" : "tag", text: n.kind }),
      printable(n.detail) + (n.count > 1 ? ` (${count(n.count)} times)` : ""),
    ],
    empty: "Nothing has happened in the last hour.",
  });
  const draw = () => {
    const notes = store.notes.filter((n) => n.failed || (!onlyRefusals.checked && !n.node?.startsWith(DOCTOR)));
    list.update(notes.slice(0, most), onlyRefusals.checked && store.notes.length ? "Nothing has failed in the last hour." : undefined);
    more.hidden = notes.length <= FEW;
    setText(more, most === FEW ? `Show ${count(Math.min(notes.length, MANY) - FEW)} more` : "Show fewer");
  };
  onlyRefusals.addEventListener("change", draw);
  const tick = () => {
    for (const el of list.el.querySelectorAll("time")) updateAgo(el, el.dateTime);
  };
  const el = h("section", {},
    h("div", { class: "row" }, h("h2", { text: "Events of the last hour" }), h("label", { class: "check" }, onlyRefusals, "Failures only")), list.el, more);
  return { el, draw, tick };
}

// counters are the tables of all that is counted since the start.
function counters() {
  const refused = table("Refusals by cause", [["Answer"], ["Cause"], ["What it means"], ["Count", "num"]], {
    key: (c) => c.name,
    make: (c) => [c.code === "0" ? "–" : c.code, h("span", { class: c.usual ? "tag" : "tag bad", text: c.cause }), c.words, count(c.n)],
    empty: "Nothing was refused.",
  });
  const losses = table("Displaced, dropped or turned away, by cause", [["Of"], ["Cause"], ["What it means"], ["Count", "num"]], {
    key: (l) => l.area + " " + l.cause,
    make: (l) => [l.area, h("span", { class: "tag", text: l.cause }), l.means, count(l.count)],
    empty: "Nothing was lost.",
  });
  const figures = table("Further figures", [["What"], ["Count", "num"]], {
    kind: "pairs",
    key: (f) => f.name,
    make: (f) => [f.name, count(f.value)],
    empty: "Nothing else was counted.",
  });
  const summary = h("summary", { text: "Counted since the start" });
  const el = h("section", {}, h("details", { id: "counted" }, summary,
    h("h2", { text: "Refusals by cause" }), refused.el,
    h("h2", { text: "Displaced, dropped or turned away" }), losses.el,
    h("h2", { text: "Further figures" }), figures.el));
  function update(s, refusals) {
    const sum = (list, of) => count(list.reduce((n, x) => n + of(x), 0));
    setText(summary, `Counted since the start: ${sum(refusals, (r) => (r.usual ? 0 : r.n))} refused, ${sum(s.losses, (l) => l.count)} displaced, dropped or turned away`);
    refused.update(refusals);
    losses.update(s.losses);
    figures.update(s.figures.filter((f) => f.value > 0));
  }
  return { el, update };
}

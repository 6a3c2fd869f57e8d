// The overview: what goes on now.

import { count, bytes, h, nodeLink, setText, table, updateAgo, ago, printable } from "./dom.js";
import { causes } from "./causes.js";
import { plot } from "./plot.js";
import { store, watch } from "./store.js";

export const title = "Overview";

function card(name) {
  const value = h("p", { class: "big", text: "–" });
  const more = h("p", { class: "hint", text: " " });
  return { el: h("section", { class: "card", "aria-label": name }, h("h2", { text: name }), value, more), value, more };
}

export function show(main, _, signal) {
  const cards = {
    nodes: card("Nodes connected"), allocations: card("Live allocations"), traffic: card("Relayed"),
    refusals: card("Refusals"), drops: card("Dropped"), bans: card("Bans"),
  };
  const figure = plot(signal);
  const refused = table("Refusals by cause", [["Answer"], ["Cause"], ["What it means"], ["Since the start", "num"]], {
    key: (c) => c.name,
    make: (c) => [c.code === "0" ? "–" : c.code, h("span", { class: c.usual ? "tag" : "tag bad", text: c.cause }), c.words, count(c.n)],
    empty: "Nothing was refused.",
  });
  const losses = table("Displaced, dropped or turned away, by cause", [["Of"], ["Cause"], ["What it means"], ["Since the start", "num"]], {
    key: (l) => l.area + " " + l.cause,
    make: (l) => [l.area, h("span", { class: "tag", text: l.cause }), l.means, count(l.count)],
    empty: "Nothing was lost.",
  });
  const figures = table("Further figures", [["What"], ["Since the start, or now", "num"]], {
    key: (f) => f.name,
    make: (f) => [f.name, count(f.value)],
    empty: "None.",
  });
  const onlyRefusals = h("input", { type: "checkbox", id: "only-refusals" });
  const feed = table("Events as they happen", [["When"], ["Node"], ["Kind"], ["What happened"]], {
    key: (n) => n.number,
    make: (n) => [ago(n.time), n.node ? nodeLink(n.node) : "–", h("span", { class: n.failed ? "tag bad" : "tag", text: n.kind }), printable(n.detail)],
    empty: "Nothing has happened since this page was opened.",
  });
  main.append(
    h("div", { class: "cards" }, ...Object.values(cards).map((c) => c.el)),
    h("section", {}, h("h2", { text: "Traffic" }), figure.el),
    h("section", {}, h("h2", { text: "Refusals by cause" }), refused.el),
    h("section", {}, h("h2", { text: "Displaced, dropped or turned away" }), losses.el),
    h("section", {}, h("h2", { text: "Further figures" }), figures.el),
    h("section", {},
      h("div", { class: "row" }, h("h2", { text: "Events as they happen" }),
        h("label", { class: "check" }, onlyRefusals, "Refusals only")),
      feed.el));

  function drawStats() {
    const s = store.stats;
    if (!s) return;
    const refusals = causes(s.refusals);
    setText(cards.nodes.value, count(s.connected));
    setText(cards.nodes.more, `${count(s.nodes)} remembered`);
    setText(cards.allocations.value, count(s.allocations));
    setText(cards.allocations.more, Object.entries(s.by_transport).filter(([, n]) => n > 0).map(([t, n]) => `${t} ${count(n)}`).join(", ") || " ");
    setText(cards.traffic.value, bytes(s.bytes_in + s.bytes_out));
    setText(cards.traffic.more, `${count(s.datagrams_in + s.datagrams_out)} datagrams`);
    setText(cards.refusals.value, count(refusals.reduce((sum, r) => sum + (r.usual ? 0 : r.n), 0)));
    setText(cards.refusals.more, `${count(s.opened)} allocations made`);
    setText(cards.drops.value, count(s.drops));
    setText(cards.drops.more, "datagrams not relayed");
    setText(cards.bans.value, count(s.bans));
    setText(cards.bans.more, "in force");
    figure.update(store.points);
    refused.update(refusals);
    losses.update(s.losses);
    figures.update(s.figures);
  }
  function drawFeed() {
    feed.update(store.notes.filter((n) => !onlyRefusals.checked || n.failed).slice(0, 50));
  }
  onlyRefusals.addEventListener("change", drawFeed);
  // Many events a second are drawn together.
  let due = false;
  watch(signal, (what) => {
    if (what === "stats") {
      drawStats();
      for (const el of feed.el.querySelectorAll("time")) updateAgo(el, el.dateTime);
    } else if (!due) {
      due = true;
      setTimeout(() => {
        due = false;
        if (!signal.aborted) drawFeed();
      }, 250);
    }
  });
  drawStats();
  drawFeed();
}

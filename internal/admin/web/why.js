// The why-record of a Node, grouped by the connections that it had a part in.

import { ago, count, h, nodeLink, printable, sentence, updateAgo } from "./dom.js";
import { storyLink } from "./story.js";

const TOGETHER = 10 * 60_000; // ms after an attempt, in which what happens is taken to belong to it
const EARLIER = 1000; // ms before it: what was decided about it

const PATHS = { relayed: ["over the relay", "good"], direct: ["direct", "good"], unclear: ["accepted", "good"], open: ["accepted", "good"] };

/** pathTag says in a word or two what became of an attempt. */
export function pathTag(c) {
  const [text, kind] = c.outcome === "made" ? PATHS[c.path] : { failed: ["failed", "bad"], open: ["asked", ""] }[c.outcome];
  return h("span", { class: "tag " + kind, text });
}

/** whyRecord makes the list; update(node) draws what /api/node answered. */
export function whyRecord() {
  const list = h("div", { class: "why" });
  let shown = "";
  function update(n) {
    const now = JSON.stringify([n.connections, n.events]);
    if (now === shown) { // else whoever reads it with the keyboard would be thrown out
      for (const el of list.querySelectorAll("time")) updateAgo(el, el.dateTime);
      return;
    }
    shown = now;
    const groups = grouped(n);
    list.replaceChildren(...groups.map((g) => draw(n.node, g)));
    if (groups.length === 0) list.append(h("p", { class: "empty", text: "Nothing has happened to this Node since the server started." }));
  }
  return { el: list, update };
}

// grouped gives each event to the last attempt before it; attempts and groups are the newest first.
function grouped(n) {
  const groups = n.connections.map((c) => ({ c, at: new Date(c.at).getTime(), events: [] }));
  const alone = [];
  for (const e of [...n.events].reverse()) {
    const time = new Date(e.time).getTime();
    const group = groups.find((g) => time >= g.at - EARLIER);
    if (group && time < group.at + TOGETHER) group.events.push(e);
    else alone.push(e);
  }
  const parts = groups.map((g) => ({ ...g, newest: Math.max(g.at, ...g.events.map((e) => new Date(e.time).getTime())) }));
  // What belongs to no attempt stands where its time is: one group for each stretch between two attempts.
  for (const e of alone) {
    const time = new Date(e.time).getTime();
    const before = groups.findIndex((g) => time >= g.at);
    let part = parts.find((p) => !p.c && p.before === before);
    if (!part) parts.push(part = { c: null, before, newest: time, events: [] });
    part.events.push(e);
  }
  return parts.sort((a, b) => b.newest - a.newest);
}

function draw(id, { c, events }) {
  const lines = h("ul", {}, ...events.map((e) => h("li", { class: e.failed ? "event failed" : "event" },
    ago(e.time), " ", e.failed ? h("span", { class: "tag bad", text: e.kind }) : h("span", { class: "tag", text: e.kind }), " ",
    h("bdi", { text: printable(e.detail) + (e.count > 1 ? ` (${count(e.count)} times)` : "") }),
    e.machine ? h("span", { class: "hint", text: ` at ${printable(e.machine)}` }) : null)));
  if (!c) return h("section", { class: "attempt" }, h("h3", { text: "Besides" }), lines);
  const other = c.asker === id ? c.asked : c.asker;
  return h("section", { class: "attempt" },
    h("div", { class: "row" },
      h("h3", {}, c.asker === id ? "Asked " : "Was asked by ", nodeLink(other)), pathTag(c), ago(c.at), storyLink(id, other, "Story")),
    h("p", { class: c.outcome === "failed" ? "problem" : "hint", text: sentence(printable(c.words)) }), lines);
}

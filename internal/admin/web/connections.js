// Whether connections go through, over which way, and what failed last.

import { ago, bytes, count, h, nodeLink, printable, sentence, setText, updateAgo } from "./dom.js";
import { storyLink } from "./story.js";

const SHOWN = 6; // failures

// What the story of a connection tells better than the events that belong to it.
const TOLD = new Set(["signal", "authorization"]);
const MEANT = new Set(["banned", "lost"]); // no failure, though something was taken

/** leading says in one sentence or two how things are: {kind, text}. */
export function leading(s, c, rate) {
  if (!s) return { kind: "", text: "Connecting …" };
  if (s.not_ready.length) return { kind: "bad", text: `The server is not ready: ${s.not_ready.join(", ")}.` };
  const parts = [s.connected === 0 ? "No Node is connected." : `${count(s.connected)} ${s.connected === 1 ? "Node is" : "Nodes are"} connected.`];
  let kind = s.connected || s.allocations ? "good" : "";
  if (c?.known && c.attempts > 0) {
    const ways = [[c.relayed, "over the relay"], [c.direct, "directly"]].filter(([n]) => n > 0).map(([n, way]) => `${count(n)} ${way}`);
    const made = c.made === 0 ? "none was made" : `${count(c.made)} ${c.made === 1 ? "was" : "were"} made${ways.length ? ` (${ways.join(", ")})` : ""}`;
    const rest = c.failed ? ` and ${count(c.failed)} failed` : "";
    parts.push(`Of ${count(c.attempts)} connection${c.attempts === 1 ? "" : "s"} asked for in the last hour, ${made}${rest}.`);
    if (c.failed > c.made) kind = "warn";
  }
  if (s.allocations > 0) parts.push(`${count(s.allocations)} ${s.allocations === 1 ? "relay passes" : "relays pass"} ${bytes(rate)}/s.`);
  else if (!c?.known || c.attempts === 0) parts.push("Nothing is relayed now.");
  return { kind, text: parts.join(" ") };
}

/** failures is the list of what failed last: connections, and whatever else did not work. */
export function failures() {
  const list = h("ul", { class: "failures" });
  const none = h("p", { class: "empty", text: "Nothing has failed in the last hour." });
  let shown = "";
  function update(c, notes) {
    const lines = (c?.failures ?? []).map((f) => ({ time: f.at, f }));
    const events = notes.filter((n) => n.failed && n.node && !MEANT.has(n.kind) && !(c?.known && TOLD.has(n.kind)));
    lines.push(...events.map((n) => ({ time: n.time, n })));
    lines.sort((a, b) => new Date(b.time) - new Date(a.time));
    const last = lines.slice(0, SHOWN);
    const now = JSON.stringify(last);
    if (now === shown) {
      for (const el of list.querySelectorAll("time")) updateAgo(el, el.dateTime);
      return;
    }
    shown = now;
    none.hidden = last.length > 0;
    list.replaceChildren(...last.map((line) => (line.f ? failedConnection(line.f) : failedEvent(line.n))));
  }
  return { el: h("section", {}, h("h2", { text: "What failed last" }), none, list), update };
}

function failedConnection(f) {
  return h("li", {}, h("div", { class: "who" }, nodeLink(f.asker), " → ", nodeLink(f.asked), " ", storyLink(f.asker, f.asked, "Story"), " ", ago(f.at)),
    h("p", { text: sentence(printable(f.words)) }));
}

function failedEvent(n) {
  return h("li", {}, h("div", { class: "who" }, nodeLink(n.node), " ", h("span", { class: "tag bad", text: n.kind }), " ", ago(n.time)),
    h("p", { text: sentence(printable(n.detail)) }));
}

/** ways is the part on which way connections took, and why the relay was needed. */
export function ways() {
  const text = h("p");
  const bar = h("div", { class: "bar-of", "aria-hidden": "true" });
  const reasons = h("ul", { class: "reasons" });
  const words = { relayed: "over the relay", direct: "directly", unclear: "not known yet, or too short to tell" };
  let shown = "";
  function update(c) {
    const now = JSON.stringify(c && [c.known, c.made, c.relayed, c.direct, c.unclear, c.reasons]);
    if (now === shown) return;
    shown = now;
    const parts = Object.keys(words).filter((way) => c?.[way] > 0);
    bar.replaceChildren(...parts.flatMap((way) => Array.from({ length: Math.max(1, Math.round((20 * c[way]) / c.made)) }, () => h("span", { class: way }))));
    if (!c?.known) setText(text, "It is known where the Broker runs in this process.");
    else if (c.made === 0) setText(text, "No connection was made in the last hour.");
    else setText(text, `Of ${count(c.made)} made in the last hour: ${parts.map((way) => `${count(c[way])} ${words[way]}`).join(", ")}.`);
    reasons.replaceChildren(...(c?.reasons ?? []).map((r) => h("li", {},
      h("strong", { text: `${count(r.count)} ×` }), ` ${r.words} `, storyLink(r.example[0], r.example[1], "Example"))));
  }
  return { el: h("section", {}, h("h2", { text: "Relayed or direct" }), text, bar, reasons), update };
}

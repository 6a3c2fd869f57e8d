// All that is known of one Node, with its why-record.

import { addresses, every, testLinkButton } from "./actions.js";
import { allocationTable } from "./allocations.js";
import { call } from "./api.js";
import { ago, bytes, count, facts, h, labelled, printable } from "./dom.js";
import { banButton, stateTag } from "./nodes.js";
import { store, watch } from "./store.js";
import { storyLink } from "./story.js";
import { timeline } from "./timeline.js";
import { ratesOf } from "./traffic.js";
import { both, monthName, nodeLimit, share } from "./usage.js";
import { whyRecord } from "./why.js";

/** name is the heading: the Node's id. */
export function name(params) {
  return printable(params.get("id") ?? "");
}

export function show(main, params, signal) {
  const id = params.get("id") ?? "";
  const state = h("p", { class: "row about" });
  const known = h("div");
  let points = [];
  const relay = relayChoice(params.get("relay"), () => figure.draw());
  const figure = timeline(signal, {
    node: id, live: () => relay.points() ?? points, forgetful: () => relay.points() !== null, choose: relay.el,
    heading: "Traffic", height: 140, names: ["sent", "received"],
  });
  let here; // the machine that answers; undefined: it is alone
  const allocations = allocationTable(() => refresh(), { withNode: false, elsewhere: (a) => Boolean(a.machine) && a.machine !== here });
  const why = whyRecord();
  main.append(state, h("div", { class: "two node" },
    h("section", { class: "a-traffic" }, ...figure.el.childNodes, h("h2", { text: "Live allocations" }), allocations.el),
    h("section", { class: "a-why" }, h("h2", { text: "Why-record" }), h("p", { class: "hint", text: "What happened last, by connection, the newest first." }), why.el),
    h("section", { class: "a-known" }, h("h2", { text: "Known of it" }), known, testLinkButton(id))));

  const refresh = every(2000, signal, async () => {
    let n;
    try {
      n = await call("GET", "/api/node", { query: { id }, signal });
    } catch (err) {
      if (err.status !== 404) throw err; // what is shown stays while the server cannot be reached
      drawState(h("span", { class: "empty", text: err.message + "." }), { node: id, banned: false });
      known.replaceChildren();
      allocations.update([]);
      why.update({ node: id, connections: [], events: [] });
      return;
    }
    const since = n.broker ? h("span", {}, "at the Broker since ", ago(n.broker.since)) : h("span", {}, "seen ", ago(n.seen));
    here = n.machine;
    drawState(h("span", { class: "row" }, stateTag(n), since, n.ban ? describeBan(n.ban) : ""), n);
    known.replaceChildren(facts(pairs(n, id)));
    allocations.update(n.allocations);
    points = ratesOf(id, n.allocations.map((a) => ({ ...a, id: `${a.machine ?? ""} ${a.id}` })));
    relay.update(n);
    figure.draw();
    why.update(n);
  });

  function drawState(about, n) {
    const focused = state.contains(document.activeElement);
    state.replaceChildren(about, banButton(n, () => refresh()));
    if (focused) state.querySelector("button").focus();
  }
  watch(signal, (what) => {
    if (what === "note" && store.notes[0].node === id) refresh();
  });
}

const RELAYS = 20; // to choose among: more are in the table alone

// relayChoice chooses one of a Node's live allocations for the plot. points() is what that has relayed, null: all are shown.
function relayChoice(wanted, changed) {
  const select = h("select", { id: "relay", on: { change: () => { wanted = select.value; changed(); } } });
  const el = labelled("Of", select);
  el.hidden = true;
  let known = new Map(); // by key: {text, points}
  function update({ allocations, machine }) {
    const now = new Map(allocations.slice(0, RELAYS).map((a) => {
      const key = a.machine && a.machine !== machine ? `${a.machine} ${a.id}` : a.id;
      return [key, { text: addresses(a), points: ratesOf("allocation " + key, [{ ...a, id: key }]) }];
    }));
    const same = now.size === known.size && [...now.keys()].every((key) => known.has(key));
    known = now;
    if (same) return;
    select.replaceChildren(h("option", { value: "", text: "all its relays" }), ...[...known].map(([value, { text }]) => h("option", { value, text })));
    select.value = known.has(wanted) ? wanted : "";
    el.hidden = known.size === 0;
  }
  return { el, update, points: () => known.get(wanted)?.points ?? null };
}

function pairs(n, id) {
  const list = [];
  if (n.connected_at?.length) list.push(["Connected at", n.connected_at.map(printable).join(", ")]);
  if (n.unanswered?.length) list.push(["Not in this", n.unanswered.map((u) => printable(`${u.machine}: ${u.why}`)).join("; ")]);
  if (n.broker) list.push(...describeLink(n.broker));
  if (n.partners.length) list.push(["In touch with", h("span", {}, ...n.partners.flatMap((other, i) => [i ? ", " : "", storyLink(id, other)]))]);
  if (!n.broker) list.push(["Last validity check", n.checked ? ago(n.checked) : "no Broker has named it"]);
  list.push(["Seen", ago(n.seen)]);
  if (n.credentials_issued) list.push(["Credentials", h("span", {}, `${count(n.credentials_issued)} issued, the last ends `, ago(n.credential_ends))]);
  if (n.usage) {
    const limit = nodeLimit();
    list.push(["In " + monthName(n.usage.month), h("span", {}, h("a", { href: "#/usage?" + new URLSearchParams({ q: id }), text: bytes(both(n.usage)) }), " relayed",
      ...(limit ? [", ", share(both(n.usage), limit), ` of the ${bytes(limit)} that it may`] : []))]);
  }
  if (n.addresses.length) list.push(["Seen at", n.addresses.join(", ")]);
  return list;
}

// describeLink tells of the connection to the Broker in the server.
function describeLink(b) {
  const said = [["attempt", b.attempts], ["acceptance", b.acceptances], ["refusal", b.refusals], ["candidate", b.candidates], ["message", b.messages]]
    .filter(([, n]) => n > 0).map(([what, n]) => `${count(n)} ${what}${n === 1 ? "" : "s"}`);
  return [
    ["Connected from", b.from],
    ["Library", printable(`${b.runtime} ${b.version}`.trim()) || "unknown"],
    ["Broker and back", b.round_trip_ms ? `${b.round_trip_ms.toFixed(1)} ms` : "measured every 25 s"],
    ["Through the Broker", `${said.join(", ") || "nothing yet"}; ${bytes(b.sent_bytes)} sent, ${bytes(b.got_bytes)} received`],
  ];
}

function describeBan(ban) {
  const el = h("span", {}, "since ", ago(ban.since));
  if (ban.until) el.append(", until ", ago(ban.until));
  if (ban.reason) el.append(": ", h("bdi", { text: printable(ban.reason) }));
  return el;
}

// All that is known of one Node, with its why-record.

import { every } from "./actions.js";
import { allocationTable } from "./allocations.js";
import { call } from "./api.js";
import { ago, bytes, count, facts, h, printable, table } from "./dom.js";
import { banButton, stateTag } from "./nodes.js";
import { store, watch } from "./store.js";
import { storyLink } from "./story.js";

export const title = "Node";

export function show(main, params, signal) {
  const id = params.get("id") ?? "";
  const about = h("section");
  const allocations = allocationTable(() => refresh(), { withNode: false });
  const events = table("Why-record, the newest first", [["When"], ["Kind"], ["What happened"]], {
    key: (e) => e.key,
    make: (e) => [
      ago(e.time), h("span", { class: e.failed ? "tag bad" : "tag", text: e.kind }),
      printable(e.detail) + (e.count > 1 ? ` (${count(e.count)} times)` : ""),
    ],
    empty: "There are no events of this Node.",
  });
  main.append(
    h("p", { class: "id title" }, h("bdi", { text: printable(id) })), about,
    h("section", {}, h("h2", { text: "Live allocations" }), allocations.el),
    h("section", {}, h("h2", { text: "Why-record" }),
      h("p", { class: "hint", text: "What happened to this Node last, the newest first." }), events.el));

  const refresh = every(3000, signal, async () => {
    let n;
    try {
      n = await call("GET", "/api/node", { query: { id }, signal });
    } catch (err) {
      if (err.status !== 404) throw err; // what is shown stays while the server cannot be reached
      about.replaceChildren(h("p", { class: "empty", text: err.message + "." }), banButton({ node: id, banned: false }, () => refresh()));
      allocations.update([]);
      events.update([]);
      return;
    }
    const pairs = [["State", stateTag(n)]];
    if (n.broker) pairs.push(...describeLink(n.broker));
    if (n.partners.length) pairs.push(["In touch with", h("span", {}, ...n.partners.flatMap((other, i) => [i ? ", " : "", storyLink(id, other)]))]);
    if (n.ban) pairs.push(["Banned", describeBan(n.ban)]);
    if (!n.broker) pairs.push(["Last validity check", n.checked ? ago(n.checked) : "no Broker has named it"]);
    pairs.push(["Seen", ago(n.seen)]);
    if (n.credentials_issued) pairs.push(["Credentials", h("span", {}, `${count(n.credentials_issued)} issued, the last ends `, ago(n.credential_ends))]);
    if (n.addresses.length) pairs.push(["Seen at", n.addresses.join(", ")]);
    const focused = about.contains(document.activeElement);
    about.replaceChildren(facts(pairs), banButton(n, () => refresh()));
    if (focused) about.querySelector("button").focus();
    allocations.update(n.allocations);
    const seen = new Map(); // events of the very same time are told apart by their order
    events.update(n.events.map((e) => {
      const base = e.time + e.kind + e.detail;
      seen.set(base, (seen.get(base) ?? 0) + 1);
      return { ...e, key: base + seen.get(base) };
    }).reverse());
  });
  watch(signal, (what) => {
    if (what === "note" && store.notes[0].node === id) refresh();
  });
}

// describeLink tells of the connection to the Broker in the server.
function describeLink(b) {
  return [
    ["At the Broker", h("span", {}, "since ", ago(b.since), ` from ${b.from}`)],
    ["Library", printable(`${b.runtime} ${b.version}`.trim()) || "unknown"],
    ["Through the Broker", `${count(b.attempts)} attempts, ${count(b.acceptances)} acceptances, ${count(b.refusals)} refusals, ` +
      `${count(b.candidates)} candidates, ${count(b.messages)} messages; ${bytes(b.sent_bytes)} sent, ${bytes(b.got_bytes)} received`],
  ];
}

function describeBan(ban) {
  const el = h("span", {}, "since ", ago(ban.since));
  if (ban.until) el.append(", until ", ago(ban.until));
  if (ban.reason) el.append(": ", h("bdi", { text: printable(ban.reason) }));
  return el;
}

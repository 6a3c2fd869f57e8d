// The list of Nodes.

import { askBan, changeButton, every, unban } from "./actions.js";
import { call } from "./api.js";
import { ago, bytes, count, h, nodeLink, pager, printable, table } from "./dom.js";

export const title = "Nodes";

const PAGE = 100;

export function show(main, params, signal) {
  const search = h("input", { type: "search", id: "search", value: params.get("q") ?? "", placeholder: "part of an id", autocomplete: "off", spellcheck: "false" });
  const pages = pager(PAGE, () => refresh());
  const list = table("Nodes, the last seen first", [["Node"], ["State"], ["At the Broker"], ["Allocations", "num"], ["Sent", "num"], ["Received", "num"], ["Seen"], ["Last event"], ["Action"]], {
    key: (n) => n.node,
    make: (n) => [
      nodeLink(n.node), stateTag(n), n.broker ? atBroker(n.broker) : "–", count(n.allocations), bytes(n.bytes_in), bytes(n.bytes_out), ago(n.seen),
      n.last_event ? printable(n.last_event.detail) : "–", banButton(n, () => refresh()),
    ],
    empty: "No Nodes are known, or none match.",
  });
  main.append(h("section", {},
    h("div", { class: "row" }, h("label", { for: "search", text: "Find" }), search, pages.el), list.el));
  const refresh = every(3000, signal, async () => {
    const query = pages.query();
    if (search.value) query.q = search.value;
    const answer = await call("GET", "/api/nodes", { query, signal });
    list.update(answer.nodes);
    pages.update(answer.total);
  });
  search.addEventListener("input", () => {
    pages.first();
    refresh();
  });
}

function atBroker(b) {
  return h("span", {}, `${b.from}, `, printable(`${b.runtime} ${b.version}`.trim()) || "unknown library", ", since ", ago(b.since));
}

/** stateTag says whether a Node is banned or connected. */
export function stateTag(n) {
  if (n.banned) return h("span", { class: "tag bad", text: "banned" });
  if (n.connected) return h("span", { class: "tag good", text: "connected" });
  return h("span", { class: "tag", text: "not connected" });
}

/** banButton bans a Node, or lifts its ban. */
export function banButton(n, done) {
  const click = async () => {
    if (n.banned ? await unban(n.node) : await askBan(n.node)) done();
  };
  return changeButton({
    type: "button", class: n.banned ? "small" : "small danger", "data-node": n.node, text: n.banned ? "Lift ban" : "Ban",
    "aria-label": (n.banned ? "Lift ban of " : "Ban ") + printable(n.node), on: { click },
  });
}

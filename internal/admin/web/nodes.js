// The list of Nodes.

import { askBan, changeButton, every, unban } from "./actions.js";
import { call } from "./api.js";
import { ago, count, dot, h, labelled, nodeLink, pager, printable, quoted, rate, table } from "./dom.js";
import { spark } from "./spark.js";
import { store } from "./store.js";

export const title = "Nodes";

const PAGE = 100;
const STATES = [["", "All"], ["connected", "Connected"], ["relaying", "Relaying"], ["refused", "Refused last"], ["banned", "Banned"]];
const ORDERS = [["seen", "seen last"], ["rate", "the fastest now"], ["traffic", "what has relayed most"], ["name", "by name"]];
const NONE = { connected: "No Node is connected.", relaying: "No Node has a relay now.", refused: "The last event of no Node is a refusal.", banned: "No Node that is known is banned: see Bans for all." };

export function show(main, params, signal) {
  const search = h("input", { type: "search", id: "search", value: params.get("q") ?? "", placeholder: "part of an id", autocomplete: "off", spellcheck: "false" });
  const sort = h("select", { id: "sort" }, ...ORDERS.map(([value, text]) => h("option", { value, text })));
  const pages = pager(PAGE, () => refresh());
  let state = params.get("state") ?? "";
  const chips = STATES.map(([value, text]) => h("button", {
    type: "button", class: "chip", "data-state": value, "aria-pressed": String(value === state), text,
    on: { click: () => { state = value; anew(); } },
  }));
  const list = table("Known Nodes", [
    ["Node", "c-id"], ["Relays", "num c-skip"], ["Now", "num c-rate"], ["Trend", "c-skip"], ["Seen", "c-seen"], ["Library", "c-skip"], ["Last event", "c-more"],
  ], {
    kind: "lines",
    key: (n) => n.node,
    make: (n) => [
      h("span", {}, stateDot(n), nodeLink(n.node), n.banned ? h("span", { class: "tag bad", text: "banned" }) : ""),
      n.allocations ? count(n.allocations) : "–", rate(n.rate), spark("node " + n.node, n.rate ?? 0), ago(n.seen),
      n.broker ? printable(`${n.broker.runtime} ${n.broker.version}`.trim()) || "unknown" : "–", lastEvent(n.last_event),
    ],
    empty: "No Node has joined yet.",
  });
  main.append(h("section", {},
    h("div", { class: "chips", role: "group", "aria-label": "Show" }, ...chips),
    h("div", { class: "row" }, labelled("Find", search), labelled("First", sort), pages.el), list.el));
  const refresh = every(3000, signal, async () => {
    const query = { ...pages.query(), sort: sort.value };
    if (search.value) query.q = search.value;
    if (state) query.state = state;
    const answer = await call("GET", "/api/nodes", { query, signal });
    let why;
    if (search.value) why = `No Node${state ? " of these" : ""} fits “${quoted(search.value)}”.`;
    else if (state && (store.stats?.nodes ?? 1) > 0) why = NONE[state];
    list.update(answer.nodes, why);
    pages.update(answer.total);
  });
  function anew() {
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.state === state));
    pages.first();
    refresh();
  }
  for (const control of [search, sort]) control.addEventListener("input", anew);
}

// lastEvent is one line, which is cut where there is no room: what is cut is its title.
function lastEvent(e) {
  if (!e) return "–";
  const text = printable(e.detail);
  return h("span", { class: e.failed ? "cut bad" : "cut", title: text }, text);
}

/** stateDot is a Node's state as a dot. */
export function stateDot(n) {
  if (n.banned) return dot("bad", "banned");
  if (!n.connected) return dot("", "not connected");
  return n.allocations > 0 || n.allocations?.length ? dot("good full", "connected, relaying") : dot("good", "connected");
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
    type: "button", class: n.banned ? "" : "danger", "data-node": n.node, text: n.banned ? "Lift ban" : "Ban",
    "aria-label": (n.banned ? "Lift ban of " : "Ban ") + printable(n.node), on: { click },
  });
}

// The live allocations.

import { addresses, changeButton, closeAllocation, every } from "./actions.js";
import { call } from "./api.js";
import { ago, bytes, count, h, labelled, nodeLink, pager, printable, quoted, rate, table } from "./dom.js";
import { spark } from "./spark.js";

export const title = "Allocations";

const PAGE = 100;

/**
 * allocationTable is a table of allocations: of all Nodes, or of one, with buttons that close them where they are
 * not elsewhere, at another machine of the fleet. A list of all has none: the
 * name of a Node leads to its own.
 */
export function allocationTable(done, { withNode, elsewhere = () => false }) {
  const columns = withNode
    ? [["Node", "c-id"], ["Relayed address", "c-more"], ["Over"], ["Client", "c-skip"]]
    : [["Relay", "c-id"], ["Over"]];
  columns.push(["Now", "num c-rate"], ...(withNode ? [["Trend", "c-skip"]] : []), ["Relayed", "num c-skip"]);
  columns.push(...(withNode ? [["Dropped", "num c-skip"], ["Made", "c-seen"], ["Ends", "c-skip"]] : [["Ends", "c-seen"], ["Action", "c-action"]]));
  return table("Live allocations", columns, {
    kind: "lines",
    key: (a) => `${a.machine ?? ""} ${a.id}`,
    make: (a) => {
      const cells = withNode ? [nodeLink(a.node), relayLink(a), a.transport.toUpperCase(), a.client] : [h("span", { class: "address", title: `for ${a.client}, made ${new Date(a.created).toLocaleString()}` }, addresses(a)), a.transport.toUpperCase()];
      const relayed = bytes(a.bytes_in + a.bytes_out);
      cells.push(rate(a.rate));
      if (withNode) cells.push(spark("allocation " + a.id, a.rate ?? 0), relayed, count(a.drops), ago(a.created), ago(a.expires));
      else cells.push(relayed + (a.drops ? `, ${count(a.drops)} dropped` : ""), ago(a.expires), elsewhere(a) ? h("span", { class: "hint", text: `at ${printable(a.machine)}` }) : closeButton(a, done));
      return cells;
    },
    empty: withNode ? "Nothing is relayed now." : "It has no relay now.",
  });
}

// relayLink leads to the plot of one allocation, on the page of its Node.
function relayLink(a) {
  return h("a", { class: "address", href: "#/node?" + new URLSearchParams({ id: a.node, relay: a.id }), text: addresses(a) });
}

function closeButton(a, done) {
  return changeButton({
    type: "button", class: "small", text: "Close", "data-allocation": a.id, "aria-label": `Close ${addresses(a)} of ${printable(a.node)}`,
    on: { click: async () => (await closeAllocation(a)) && done() },
  });
}

export function show(main, _, signal) {
  const search = h("input", { type: "search", id: "search", placeholder: "part of an id or address", autocomplete: "off", spellcheck: "false" });
  const sort = h("select", { id: "sort" }, ...[["newest", "the newest"], ["rate", "the fastest now"], ["traffic", "what has relayed most"], ["drops", "what has dropped most"]]
    .map(([value, text]) => h("option", { value, text })));
  const pages = pager(PAGE, () => refresh());
  const list = allocationTable(() => refresh(), { withNode: true });
  main.append(h("section", {},
    h("div", { class: "row" }, labelled("Find", search), labelled("First", sort), pages.el), list.el));
  const refresh = every(2000, signal, async () => {
    const query = { ...pages.query(), sort: sort.value };
    if (search.value) query.q = search.value;
    const answer = await call("GET", "/api/allocations", { query, signal });
    list.update(answer.allocations, search.value ? `No allocation fits “${quoted(search.value)}”.` : undefined);
    pages.update(answer.total);
  });
  for (const control of [search, sort]) {
    control.addEventListener("input", () => {
      pages.first();
      refresh();
    });
  }
}

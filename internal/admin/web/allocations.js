// The live allocations.

import { changeButton, closeAllocation, every } from "./actions.js";
import { call } from "./api.js";
import { ago, bytes, count, h, nodeLink, pager, printable, table } from "./dom.js";

export const title = "Allocations";

const PAGE = 100;

/** allocationTable is a table of allocations with buttons that close them. */
export function allocationTable(done, { withNode }) {
  const columns = [["Relayed address"], ["Node"], ["Over"], ["Client"], ["Sent", "num"], ["Received", "num"], ["Dropped", "num"], ["Made"], ["Ends"], ["Action"]];
  const pick = (list) => (withNode ? list : list.filter((_, i) => i !== 1));
  return table("Live allocations", pick(columns), {
    key: (a) => a.id,
    make: (a) => pick([
      a.relayed, nodeLink(a.node), a.transport, a.client, bytes(a.bytes_in), bytes(a.bytes_out), count(a.drops), ago(a.created), ago(a.expires),
      changeButton({
        type: "button", class: "small danger", text: "Close", "data-allocation": a.id, "aria-label": `Close ${a.relayed} of ${printable(a.node)}`,
        on: { click: async () => (await closeAllocation(a)) && done() },
      }),
    ]),
    empty: "There are no allocations, or none that match.",
  });
}

export function show(main, _, signal) {
  const search = h("input", { type: "search", id: "search", placeholder: "part of an id or address", autocomplete: "off", spellcheck: "false" });
  const sort = h("select", { id: "sort" }, ...[["newest", "the newest"], ["traffic", "the most traffic"], ["drops", "the most dropped"]]
    .map(([value, text]) => h("option", { value, text })));
  const pages = pager(PAGE, () => refresh());
  const list = allocationTable(() => refresh(), { withNode: true });
  main.append(h("section", {},
    h("div", { class: "row" }, h("label", { for: "search", text: "Find" }), search,
      h("label", { for: "sort", text: "First" }), sort, pages.el), list.el));
  const refresh = every(2000, signal, async () => {
    const query = { ...pages.query(), sort: sort.value };
    if (search.value) query.q = search.value;
    const answer = await call("GET", "/api/allocations", { query, signal });
    list.update(answer.allocations);
    pages.update(answer.total);
  });
  for (const control of [search, sort]) {
    control.addEventListener("input", () => {
      pages.first();
      refresh();
    });
  }
}

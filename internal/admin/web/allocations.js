// The live allocations.

import { closeAllocation, every } from "./actions.js";
import { call } from "./api.js";
import { ago, bytes, count, h, nodeLink, printable, setText, table } from "./dom.js";

export const title = "Allocations";

const LIMIT = 500;

/** allocationTable is a table of allocations with buttons that close them. */
export function allocationTable(done, { withNode }) {
  const columns = [["Relayed address"], ["Node"], ["Over"], ["Client"], ["Sent", "num"], ["Received", "num"], ["Dropped", "num"], ["Made"], ["Ends"], ["Action"]];
  const pick = (list) => (withNode ? list : list.filter((_, i) => i !== 1));
  return table("Live allocations, the newest first", pick(columns), {
    key: (a) => a.id,
    make: (a) => pick([
      a.relayed, nodeLink(a.node), a.transport, a.client, bytes(a.bytes_in), bytes(a.bytes_out), count(a.drops), ago(a.created), ago(a.expires),
      h("button", {
        type: "button", class: "small danger", text: "Close", "data-allocation": a.id, "aria-label": `Close ${a.relayed} of ${printable(a.node)}`,
        on: { click: async () => (await closeAllocation(a)) && done() },
      }),
    ]),
    empty: "Nothing is allocated.",
  });
}

export function show(main, _, signal) {
  const total = h("p", { class: "hint", role: "status" });
  const list = allocationTable(() => refresh(), { withNode: true });
  main.append(h("section", {}, total, list.el));
  const refresh = every(2000, signal, async () => {
    const answer = await call("GET", "/api/allocations", { query: { limit: LIMIT }, signal });
    list.update(answer.allocations);
    setText(total, answer.total > answer.allocations.length ? `${count(answer.allocations.length)} of ${count(answer.total)} shown` : `${count(answer.total)} in all`);
  });
}

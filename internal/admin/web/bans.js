// Bans: who has one, and a form for new ones.

import { attempt, ban, changeButton, durationSelect, every, unban } from "./actions.js";
import { call } from "./api.js";
import { changes } from "./changes.js";
import { ago, field, h, labelled, nodeLink, pager, printable, quoted, table } from "./dom.js";

export const title = "Bans";

const PAGE = 100;

export function show(main, _, signal) {
  const search = h("input", { type: "search", id: "search", placeholder: "part of an id", autocomplete: "off", spellcheck: "false" });
  const pages = pager(PAGE, () => refresh());
  const list = table("Bans, the newest first", [["Node", "c-id"], ["Since", "c-seen"], ["Until", "c-skip"], ["Reason", "c-more"], ["Action", "c-action"]], {
    kind: "lines",
    key: (b) => b.node,
    make: (b) => [
      nodeLink(b.node), ago(b.since), b.until ? ago(b.until) : "for good", b.reason ? printable(b.reason) : "–",
      changeButton({
        type: "button", class: "small", text: "Lift ban", "data-node": b.node, "aria-label": "Lift ban of " + printable(b.node),
        on: { click: async () => (await unban(b.node)) && refresh() },
      }),
    ],
    empty: "No Node is banned.",
  });
  const form = h("form", { class: "row form" },
    field("Node", h("input", { name: "node", required: true, maxlength: "256", autocomplete: "off", spellcheck: "false" })),
    field("Reason", h("input", { name: "reason", maxlength: "1024", autocomplete: "off" })),
    field("For", durationSelect()),
    changeButton({ type: "submit", class: "danger", text: "Ban" }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const data = Object.fromEntries(new FormData(form));
    if (await attempt(() => ban(data.node, data.reason, data.for))) {
      form.reset();
      refresh();
    }
  });
  main.append(
    h("section", {}, h("h2", { text: "Ban a Node" }),
      h("p", { class: "hint", text: "Its live allocations end at once; it gets no new ones, no credentials, and the Broker is told at its next check." }), form),
    h("section", {}, h("h2", { text: "In force" }),
      h("div", { class: "row" }, labelled("Find", search), pages.el), list.el),
    changes(signal, { title: "Who banned, and who lifted", empty: "No Node has been banned, and no ban lifted.", what: "ban,unban" }));
  const refresh = every(3000, signal, async () => {
    const query = pages.query();
    if (search.value) query.q = search.value;
    const answer = await call("GET", "/api/bans", { query, signal });
    list.update(answer.bans, search.value ? `No ban fits “${quoted(search.value)}”.` : undefined);
    pages.update(answer.total);
  });
  search.addEventListener("input", () => {
    pages.first();
    refresh();
  });
}

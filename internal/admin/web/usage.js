// What Nodes used, by month, and how near that is to the limits.

import { attempt, every } from "./actions.js";
import { call } from "./api.js";
import { bytes, count, duration, h, labelled, nodeLink, pager, quoted, setText, table } from "./dom.js";
import { store } from "./store.js";

export const title = "Usage";

const PAGE = 100;
const SERVER = "turn.limits.bytes_per_month";
const NODE = "turn.limits.bytes_per_month_per_node";
const HEADS = ["month", "node", "wire_bytes_in", "wire_bytes_out", "seconds", "allocations", "messages"];
const NEAR = 0.8; // of a limit, from which it is a warning

/** both are the bytes of both directions, which count for limits. */
export const both = (u) => u.wire_bytes_in + u.wire_bytes_out;

/** monthName writes a month such as 2026-11 as people do. */
export function monthName(month) {
  return new Date(month + "-01T00:00:00Z").toLocaleDateString([], { month: "long", year: "numeric", timeZone: "UTC" });
}

/** nodeLimit is how much a Node may relay in a month; 0: there is no limit. */
export const nodeLimit = () => store.status?.limits[NODE] ?? 0;

/** share says how much of a limit is used; nothing where there is none. */
export function share(used, limit) {
  if (!limit) return h("span", { class: "wide", text: "–" });
  const part = used / limit;
  const text = used > 0 && part < 0.01 ? "below 1 %" : `${Math.floor(100 * part)} %`;
  return part < NEAR ? text : h("span", { class: part < 1 ? "tag warn" : "tag bad", text: part < 1 ? text : "all of it" });
}

export function show(main, params, signal) {
  const search = h("input", { type: "search", id: "search", value: params.get("q") ?? "", placeholder: "part of an id", autocomplete: "off", spellcheck: "false" });
  const month = h("select", { id: "month" });
  const lead = h("p", { class: "lead", text: "…" });
  const gauge = h("meter", { min: "0", max: "1", high: String(NEAR), optimum: "0", "aria-label": "Used of this month's limit", hidden: true });
  const pages = pager(PAGE, () => refresh());
  const list = table("Usage of the month, by Node", [
    ["Node", "c-id"], ["Sent", "num c-skip"], ["Received", "num c-skip"], ["Both", "num c-rate"], ["Of its limit", "num c-seen"], ["Relaying for", "num c-skip"],
    ["Allocations", "num c-skip"], ["Messages", "num c-skip"],
  ], {
    kind: "lines",
    key: (u) => u.node,
    make: (u) => [
      nodeLink(u.node), bytes(u.wire_bytes_in), bytes(u.wire_bytes_out), bytes(both(u)), share(both(u), nodeLimit()),
      duration(u.seconds), count(u.allocations), count(u.messages),
    ],
    empty: "No Node has used anything in this month.",
  });
  const csv = h("button", { type: "button", text: "Download CSV", on: { click: () => attempt(() => download(month.value)) } });
  const section = h("section", {},
    h("div", { class: "row" }, labelled("Month", month), labelled("Find", search), csv, pages.el), list.el,
    h("p", { class: "hint", text: "As on the wire, with headers, in both directions; months are those of UTC. It is written to the disk once a minute." }));
  main.append(lead, gauge, section);

  const refresh = every(10_000, signal, async () => {
    const query = pages.query();
    if (month.value) query.month = month.value;
    if (search.value) query.q = search.value;
    let u;
    try {
      u = await call("GET", "/api/usage", { query, signal });
    } catch (err) {
      if (err.status !== 404) throw err;
      section.hidden = true;
      setText(lead, "This server does not keep what Nodes use.");
      return;
    }
    if ([...month.options].map((o) => o.value).join() !== u.months.join()) {
      month.replaceChildren(...u.months.map((m) => h("option", { value: m, text: monthName(m) })));
    }
    month.value = u.month;
    drawLead(u);
    list.update(u.nodes, search.value ? `No Node of this month fits “${quoted(search.value)}”.` : undefined);
    pages.update(u.total);
  });

  function drawLead(u) {
    const limit = store.status?.limits[SERVER] ?? 0;
    const sum = both(u.sum);
    const now = u.month === u.months[0];
    const parts = [`${bytes(sum)} ${now ? "relayed" : "were relayed"} in ${monthName(u.month)}.`];
    let kind = "";
    if (now) {
      if (limit) parts.push(`${Math.min(100, Math.floor((100 * sum) / limit))} % of the ${bytes(limit)} that ${SERVER} allows.`);
      if (limit) kind = sum >= limit ? "bad" : sum >= NEAR * limit ? "warn" : "good";
      if (nodeLimit()) parts.push(`Each Node may relay ${bytes(nodeLimit())}.`);
      if (!limit && !nodeLimit()) parts.push("There is no limit.");
    }
    setText(lead, parts.join(" "));
    lead.className = "lead " + kind;
    gauge.hidden = !now || !limit;
    if (limit) gauge.value = sum / limit;
  }

  search.addEventListener("input", () => {
    pages.first();
    refresh();
  });
  month.addEventListener("input", () => {
    pages.first();
    refresh();
  });
}

// download saves a whole month as `crolang-aio usage --csv` prints it.
async function download(month) {
  const u = await call("GET", "/api/usage", { query: month ? { month } : {} });
  const inert = (id) => (/^['=+\-@\t\r]/.test(id) ? "'" + id : id); // else a spreadsheet would take it for a formula
  const cell = (text) => (/[",\r\n]|^ /.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [HEADS, ...u.nodes.map((n) => [
    u.month, cell(inert(n.node)), n.wire_bytes_in, n.wire_bytes_out, n.seconds.toFixed(3), n.allocations, n.messages,
  ])];
  const url = URL.createObjectURL(new Blob([lines.map((l) => l.join(",") + "\n").join("")], { type: "text/csv" }));
  h("a", { href: url, download: `usage-${u.month}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser has taken it by then
}

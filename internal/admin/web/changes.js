// Who changed what: the newest lines of the audit log, as a section of other views.

import { every } from "./actions.js";
import { call } from "./api.js";
import { ago, h, nodeLink, printable, rich, table } from "./dom.js";

const LINES = 20;

const WHAT = {
  ban: "Ban", unban: "Ban lifted", forget: "Record deleted", "close-allocation": "Allocation ended", "test-link": "Link for a test made",
  "test-credential": "Tested here", drain: "Drain", reload: "Reload",
};

/** changes is a section with the newest changes, of those that what names (all, if it is not given). */
export function changes(signal, { title, empty, what }) {
  const list = table(title, [["When", "c-seen"], ["What", "strong"], ["Node", "c-id"], ["By", "c-more"], ["Result", "c-more"]], {
    kind: "lines",
    key: (e) => String(e.n),
    make: (e) => [ago(e.time), WHAT[e.what] ?? e.what, e.node ? nodeLink(e.node) : "–", by(e), result(e)],
    empty,
  });
  const more = h("p", { class: "hint", hidden: true }, rich("These are the newest: `crolang-aio audit` has the others."));
  const section = h("section", {}, h("h2", { text: title }), list.el, more);
  every(5000, signal, async () => {
    const query = { limit: String(LINES) };
    if (what) query.what = what;
    const page = await call("GET", "/api/audit", { query, signal });
    list.update(page.entries);
    more.hidden = !page.more;
  });
  return section;
}

function by(e) {
  return [e.by, e.via, e.from].filter(Boolean).map(printable).join(", ");
}

function result(e) {
  const about = [e.detail, e.reason].filter(Boolean).map(printable).join(": ");
  const done = e.refused ? "refused: " + printable(e.refused) : "done";
  return about ? `${done} (${about})` : done;
}

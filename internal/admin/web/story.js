// How far a connection of two Nodes has come, step by step.

import { every } from "./actions.js";
import { call } from "./api.js";
import { ago, bytes, count, h, nodeLink, printable, sentence, setText, table } from "./dom.js";

export const title = "Story of two Nodes";

const STATES = { done: ["came", "good"], missing: ["did not come", ""], failed: ["failed", "bad"] };

export function show(main, params, signal) {
  const [id, other] = [params.get("id") ?? "", params.get("with") ?? ""];
  const lead = h("p", { class: "lead", "aria-live": "polite", text: "…" });
  const about = h("p", { class: "hint" });
  const steps = table("Steps of the connection, in the order in which they come", [["Step", "c-id"], ["State", "c-rate"], ["What happened", "c-more"]], {
    kind: "lines events",
    key: (s) => s.name + s.state + s.detail,
    make: (s) => [s.name, h("span", { class: "tag " + STATES[s.state][1], text: STATES[s.state][0] }), printable(s.detail)],
    empty: "Nothing is known of these two.",
  });
  main.append(
    h("p", { class: "title" }, "Of ", nodeLink(id), " and ", nodeLink(other)), lead,
    h("section", {}, h("h2", { text: "Steps" }), steps.el, about));
  let shown = "";
  every(3000, signal, async () => {
    const s = await call("GET", "/api/story", { query: { id, with: other }, signal });
    const now = JSON.stringify([s.conclusion, s.messages, s.message_bytes, s.last, s.unanswered]);
    if (now !== shown) { // else a screen reader would say it again
      shown = now;
      const kind = s.steps.some((step) => step.state === "failed") ? "bad" : s.missing ? "warn" : "good";
      lead.className = "lead " + kind;
      setText(lead, sentence(s.conclusion));
      about.replaceChildren(
        s.messages ? `Messages through the Broker: ${count(s.messages)}, ${bytes(s.message_bytes)}. ` : "No messages went through the Broker. ",
        s.last ? h("span", {}, "The last exchange was ", ago(s.last), ". ") : "",
        s.unanswered?.length ? `Not in this: ${s.unanswered.map((u) => printable(`${u.machine}: ${u.why}`)).join("; ")}.` : "");
    }
    steps.update(s.steps);
  });
}

/** storyLink leads to the story of two Nodes; its text is the other one's id unless another is given. */
export function storyLink(id, other, text) {
  const query = new URLSearchParams({ id, with: other });
  if (text) return h("a", { href: "#/story?" + query, "aria-label": `${text} of ${printable(id)} and ${printable(other)}`, text });
  return h("a", { class: "id", href: "#/story?" + query }, h("bdi", { text: printable(other) }));
}

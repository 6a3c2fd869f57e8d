// What to do on the first day: steps that are ticked when they are done. They go away by themselves, for good in this browser.

import { recall } from "./api.js";
import { h, rich } from "./dom.js";

const KEY = "crolang-aio-begun";

/** firstSteps makes the list; update(stats, connections, status) draws it as long as something is to be done. */
export function firstSteps() {
  const list = h("ol", { class: "steps" });
  const hide = h("button", { type: "button", class: "quiet", text: "Hide" });
  const el = h("section", { class: "first", hidden: true, "aria-label": "First steps" },
    h("div", { class: "row" }, h("h2", { text: "First steps" }), hide), list);
  let over = recall(() => localStorage.getItem(KEY)) === "yes";
  let shown = "";
  const end = () => {
    over = true;
    el.hidden = true;
    recall(() => localStorage.setItem(KEY, "yes"));
  };
  hide.addEventListener("click", end);
  function update(stats, connections, status) {
    if (over || !stats || !status) return;
    const steps = stepsOf(stats, connections, status);
    // The certificate may well stay as it is, where all Nodes are on one machine.
    if (steps[0].done && steps[1].done) {
      if (shown === "") return over = true; // nothing was to be done when the page was opened
      if (steps[2].done) return end();
    }
    const now = JSON.stringify(steps);
    el.hidden = false;
    if (now === shown) return undefined;
    shown = now;
    return list.replaceChildren(...steps.map(draw));
  }
  return { el, update };
}

function stepsOf(stats, connections, status) {
  const here = status.nodes_url;
  const talk = here
    ? { what: "Let a second Node connect to it", how: "In another terminal:", code: `node node.mjs ${here} Bob Alice`, done: stats.opened > 0 || connections?.attempts > 0 }
    : { what: "Let your Broker ask this server", how: "It needs these environment variables, which `crolang-aio broker-env` writes with their tokens:", code: status.broker_env.join("\n"), done: Boolean(status.broker_seen) };
  return [
    {
      what: "Start a Node", done: stats.connected > 0 || stats.nodes > 0,
      how: here ? "The smallest there is, from the source:" : "It connects to your Broker.",
      code: here ? `cd docs/tutorial && npm install && node node.mjs ${here} Alice` : "",
    },
    talk,
    {
      what: "Get a certificate that browsers take", done: Boolean(status.certificate && !status.certificate.self_signed),
      how: "For `turns:`, and for Nodes in browsers on other machines. On one machine you need none. Set `certs.cert_file` and `certs.key_file`; Set-up shows what is in use.", code: "",
    },
  ];
}

function draw(step) {
  return h("li", { class: step.done ? "done" : "" },
    h("strong", { text: step.what }), h("span", { class: "hidden", text: step.done ? " (done)" : " (to do)" }),
    step.done ? null : h("p", {}, rich(step.how)),
    step.done || !step.code ? null : h("pre", { tabindex: "0", "aria-label": "Command", text: step.code }));
}

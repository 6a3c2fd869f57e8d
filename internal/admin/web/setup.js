// What runs here: listeners, addresses, certificate, limits, and the lines that a Broker needs.

import { attempt, every } from "./actions.js";
import { call } from "./api.js";
import { ago, count, duration, facts, h, say, setText, table } from "./dom.js";

export const title = "Set-up";

const overHTTPS = { broker: "The Broker over HTTPS", hooks: "The webhooks over HTTPS", admin: "This dashboard over HTTPS" };

export function show(main, _, signal) {
  const about = h("div");
  const certificate = h("div");
  const env = h("pre", { tabindex: "0", "aria-label": "Environment of a Broker" });
  const copy = h("button", {
    type: "button", text: "Copy",
    on: { click: () => attempt(async () => { await copyText(env.textContent); say("Copied."); }) },
  });
  const listeners = table("Listeners", [["Part"], ["Transport"], ["Address"]], {
    key: (l) => `${l.part} ${l.transport} ${l.address}`,
    make: (l) => [l.part, l.transport, l.address],
    empty: "No listener is up.",
  });
  const urls = table("ICE URLs that Nodes are given", [["URL"]], { key: (u) => u, make: (u) => [h("code", { text: u })], empty: "None, so Nodes cannot relay." });
  const limits = table("Limits", [["Key"], ["Value", "num"]], {
    key: ([k]) => k, make: ([k, v]) => [h("code", { text: k }), v === 0 ? "none" : count(v)], empty: "The server reports no limits.",
  });
  const policy = table("What the webhooks' policy has done", [["What"], ["Since the start", "num"]], {
    key: ([k]) => k, make: ([k, v]) => [k, count(v)], empty: "Nothing beyond its fixed rules: no question to an upstream, no message, no token that ends.",
  });
  main.append(
    h("section", {}, h("h2", { text: "This server" }), about),
    h("section", {}, h("h2", { text: "Certificate" }), certificate),
    h("section", {}, h("h2", { text: "Lines for a Broker" }),
      h("p", { class: "hint", text: "Environment variables, for docker run --env-file. Where a token is needed, TOKEN stands for it: `crolang-aio broker-env` writes it out." }),
      env, copy),
    h("section", {}, h("h2", { text: "Listeners" }), listeners.el),
    h("section", {}, h("h2", { text: "ICE URLs" }), urls.el),
    h("section", {}, h("h2", { text: "Policy" }), policy.el),
    h("section", {}, h("h2", { text: "Limits" }), limits.el));

  every(5000, signal, async () => {
    const s = await call("GET", "/api/status", { signal });
    about.replaceChildren(facts([
      ["Version", `${s.version} (${s.commit || "no commit"}, ${s.go})`],
      ["Started", ago(s.started)],
      ["Nodes connect to", s.nodes_url || "no Broker in this process: start one with the lines below"],
      ...(s.https ?? []).map((w) => [overHTTPS[w.part] ?? w.part + " over HTTPS", h("code", { text: w.url })]),
      ["Last call of a Broker elsewhere", s.broker_seen ? ago(s.broker_seen) : "none yet"],
      ["State", s.not_ready.length ? "not ready: " + s.not_ready.join(", ") : "ready"],
      ["Public host", s.public.host || "–"],
      ["Relays over IPv4", s.public.ipv4 || "off"],
      ["Relays over IPv6", s.public.ipv6 || "off"],
    ]));
    certificate.replaceChildren(s.certificate ? describe(s.certificate, s.now) : h("p", { class: "empty", text: "There is none: TLS and DTLS are off." }));
    setText(env, s.broker_env.join("\n"));
    copy.disabled = s.broker_env.length === 0;
    listeners.update(s.listeners);
    urls.update(s.urls);
    policy.update(Object.entries(s.policy ?? {}).sort());
    limits.update(Object.entries(s.limits).sort());
  });
}

function describe(c, now) {
  const left = (new Date(c.not_after) - new Date(now)) / 1000;
  const whole = (new Date(c.not_after) - new Date(c.not_before)) / 1000;
  const text = left > 0 ? `${duration(left)} left of ${duration(whole)}` : `ended ${duration(left)} ago`;
  const bar = h("meter", { min: "0", max: String(whole), low: String(whole / 12), value: String(Math.max(0, left)), "aria-label": "What remains of the certificate" });
  return facts([
    ["From", c.stand_in ? "self-signed, in place of the configured one, which cannot be used: clients refuse it" : c.self_signed ? (c.source === "self-signed" ? "" : c.source + ", ") + "self-signed: browsers refuse it for turns:" : c.source],
    ["Names", c.names.join(", ")],
    ["Ends", h("span", {}, new Date(c.not_after).toLocaleString(), " – ", h("strong", { class: left < whole / 12 ? "bad" : "", text }), " ", bar)],
  ]);
}

// copyText works on plain HTTP too, where there is no navigator.clipboard.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "hidden" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not allow it; select the lines instead");
}

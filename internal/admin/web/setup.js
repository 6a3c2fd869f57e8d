// What runs here: listeners with the URLs that Nodes are told, addresses, certificate, limits, and the lines that a Broker needs.

import { attempt, every } from "./actions.js";
import { call } from "./api.js";
import { changes } from "./changes.js";
import { ago, count, duration, facts, h, rich, say, setText, table } from "./dom.js";

export const title = "Set-up";

const overHTTPS = { broker: "The Broker over HTTPS", hooks: "The webhooks over HTTPS", admin: "This dashboard over HTTPS", test: "The page of test links" };
const PARTS = { turn: "STUN and TURN", broker: "Broker", hooks: "Webhooks for Brokers elsewhere", admin: "Dashboard and API", redis: "Redis" };

export function show(main, _, signal) {
  const about = h("div");
  const certificate = h("div");
  const reach = h("div");
  const env = h("pre", { tabindex: "0", "aria-label": "Environment of a Broker" });
  const copy = h("button", {
    type: "button", text: "Copy",
    on: { click: () => attempt(async () => { await copyText(env.textContent); say("Copied."); }) },
  });
  const ports = table("Listeners, and what Nodes are told", [["What", "strong"], ["At"], ["Nodes are told"]], {
    kind: "stacked",
    key: (l) => l.part + l.at,
    make: (l) => [PARTS[l.part] ?? l.part, l.at, l.urls.length ? h("span", { class: "stack" }, ...l.urls.map((u) => h("code", { text: u }))) : "–"],
    empty: "No listener is up.",
  });
  const limits = table("Limits", [["Key"], ["Value", "num"]], {
    kind: "pairs", key: ([k]) => k, make: ([k, v]) => [h("code", { text: k }), v === 0 ? "none" : count(v)], empty: "The server reports no limits.",
  });
  const policy = table("What the webhooks' policy has done", [["What"], ["Since the start", "num"]], {
    kind: "pairs", key: ([k]) => k, make: ([k, v]) => [k, count(v)], empty: "None.",
  });
  const did = h("section", { hidden: true }, h("h2", { text: "Policy" }), policy.el);
  const kernel = table("What the kernel relays", [["What"], ["Count", "num"]], {
    kind: "pairs", key: ([k]) => k, make: ([k, v]) => [k, typeof v === "number" ? count(v) : v], empty: "Nothing.",
  });
  const offloads = h("section", { hidden: true }, h("h2", { text: "Relaying in the kernel" }), kernel.el);
  const brokers = h("details", {}, h("summary", { text: "Lines for a Broker that runs elsewhere" }),
    h("p", { class: "hint" }, rich("Environment variables, for `docker run --env-file`. Where a token is needed, TOKEN stands for it: `crolang-aio broker-env` writes it out.")),
    env, copy);
  main.append(
    h("div", { class: "three" },
      h("section", {}, h("h2", { text: "This server" }), about),
      h("section", {}, h("h2", { text: "Reached at" }), reach),
      h("section", {}, h("h2", { text: "Certificate" }), certificate)),
    h("section", {}, h("h2", { text: "Listeners" }), ports.el),
    h("section", {}, brokers),
    h("div", { class: "two" }, h("section", {}, h("h2", { text: "Limits" }), limits.el), offloads, did),
    changes(signal, { title: "Who changed what", empty: "Nothing has been changed." }));

  let first = true;
  every(5000, signal, async () => {
    const s = await call("GET", "/api/status", { signal });
    about.replaceChildren(facts([
      ["State", s.not_ready.length ? "not ready: " + s.not_ready.join(", ") : "ready"],
      ["Started", ago(s.started)],
      ["Version", s.version],
      ["Commit", s.commit || "–"],
      ["Go", s.go],
      ["Relaying in the kernel", offload(s.offload)],
    ]));
    reach.replaceChildren(facts([
      ["Nodes connect to", s.nodes_url ? h("code", { text: s.nodes_url }) : "a Broker elsewhere, with the lines below"],
      ...(s.https ?? []).map((w) => [overHTTPS[w.part] ?? w.part + " over HTTPS", h("code", { text: w.url })]),
      ["A Broker elsewhere", s.broker_seen ? h("span", {}, "called ", ago(s.broker_seen)) : "has never called"],
      ["Public host", s.public.host || "–"],
      ["Relays, IPv4", s.public.ipv4 || "off"],
      ["Relays, IPv6", s.public.ipv6 || "off"],
    ]));
    certificate.replaceChildren(s.certificate ? describe(s.certificate, s.now) : h("p", { class: "empty", text: "There is none: TLS and DTLS are off." }));
    setText(env, s.broker_env.join("\n"));
    copy.disabled = s.broker_env.length === 0;
    if (first) brokers.open = !s.nodes_url; // where the Broker is in this process, nobody needs them
    first = false;
    ports.update(listeners(s));
    policy.update(Object.entries(s.policy ?? {}).sort());
    did.hidden = Object.keys(s.policy ?? {}).length === 0; // its fixed rules need no counting
    offloads.hidden = !s.offload?.on;
    kernel.update(relayed(s.offload));
    limits.update(Object.entries(s.limits).sort());
  });
}

// Why the kernel leaves datagrams of its flows to the sockets.
const LEFT = {
  proving: "as the way was not trusted",
  settling: "until none could overtake an earlier one",
  expired: "as their channel had ended, or this process stood still",
  merged: "that came put together",
  long: "too long for the way out",
  odd: "too short for it",
  failed: "that it refused",
};

// Why the kernel does not relay a channel.
const APART = {
  transport: "of clients over TCP, TLS or DTLS",
  limit: "under a limit of bits per second",
  fleet: "that the fleet decides about",
  family: "between IPv4 and IPv6",
  one_way: "to a relay here whose client has no channel back",
  kernel: "without a way or room",
};

// offload says in a line what the kernel relays, or why nothing.
function offload(o) {
  if (!o?.on) return o?.reason && o.reason !== "turn.offload is off" ? "nothing: " + o.reason : "off";
  if (o.reason) return "nothing: " + o.reason;
  const all = o.interfaces ?? [];
  const on = all.filter((i) => i.modes?.length).map((i) => `${i.name} (${and(i.modes)})`);
  if (all.length && !on.length) return "nothing: every way has failed";
  if (!on.length) return "waiting for the first channel";
  const left = Object.values(o.left ?? {}).reduce((a, b) => a + b, 0);
  return `on ${and(on)}` + (o.taken + left ? `, ${Math.floor(100 * o.taken / (o.taken + left))} % of the datagrams of its flows` : "");
}

// relayed are the rows on what it relays, and what not.
function relayed(o) {
  if (!o?.on) return [];
  const some = (all, words, what) => Object.entries(all ?? {}).filter(([, n]) => n).sort((a, b) => b[1] - a[1])
    .map(([why, n]) => [`${what}, ${words[why] ?? why}`, n]);
  return [
    ["Flows (each channel has two)", o.flows],
    ["Datagrams relayed in the kernel", o.taken],
    ...some(o.left, LEFT, "Datagrams left to the sockets"),
    ...some(o.apart, APART, "Channels on the sockets"),
    ...(o.waiting ? [["Flows that no Ethernet interface leads to", o.waiting]] : []),
    ...(o.ways ?? []).map((w) => [`From ${w.in} to ${w.out} by ${w.mode}`, w.state]),
    ...(o.interfaces ?? []).flatMap((i) => Object.entries(i.failed ?? {}).map(([mode, why]) => [`Not by ${mode} on ${i.name}`, why])),
  ];
}

// listeners are those of a part at one address together, with the URLs that lead there.
function listeners(s) {
  const rows = new Map();
  for (const l of s.listeners) {
    const [, host, port] = /^(.*):(\d+)$/.exec(l.address) ?? [null, l.address, ""];
    const key = l.part + " " + l.address;
    const row = rows.get(key) ?? { part: l.part, host, port, over: [], urls: [] };
    row.over.push(l.transport.toUpperCase());
    rows.set(key, row);
  }
  const turn = [...rows.values()].filter((r) => r.part === "turn");
  const elsewhere = [];
  for (const url of s.urls) {
    const port = /:(\d+)(\?|$)/.exec(url)?.[1] ?? (/^(turns|stuns):/.test(url) ? "5349" : "3478");
    const row = turn.find((r) => r.port === port);
    (row?.urls ?? elsewhere).push(url);
  }
  const list = [...rows.values()].map((r) => ({ part: r.part, at: `${r.host}:${r.port} ${and(r.over)}`, urls: r.part === "broker" && s.nodes_url ? [s.nodes_url] : r.urls }));
  if (elsewhere.length) list.push({ part: "turn", at: "another port (turn.public_ports)", urls: elsewhere });
  return list;
}

function and(words) {
  return words.length < 2 ? words.join("") : words.slice(0, -1).join(", ") + " and " + words.at(-1);
}

function describe(c, now) {
  const left = (new Date(c.not_after) - new Date(now)) / 1000;
  const whole = (new Date(c.not_after) - new Date(c.not_before)) / 1000;
  const ends = new Date(c.not_after).toLocaleDateString([], { day: "numeric", month: "long", year: "numeric" });
  const days = Math.floor(left / 86_400);
  const time = days >= 2 ? `${count(days)} days` : duration(left);
  return h("div", {},
    h("p", { class: "big" + (left < whole / 12 ? " bad" : ""), text: left > 0 ? `${time} left` : `ended ${time} ago` }),
    h("p", { class: "hint", text: (left > 0 ? "It ends on " : "It ended on ") + ends + "." }),
    facts([["From", from(c)], ["For", c.names.join(", ")]]));
}

function from(c) {
  if (c.stand_in) return "self-signed, in place of the configured one, which cannot be used: clients refuse it";
  if (c.self_signed) return (c.source === "self-signed" ? "" : c.source + ", ") + "self-signed: browsers refuse it for turns:";
  return c.source;
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

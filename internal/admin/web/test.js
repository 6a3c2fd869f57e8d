// The test from the visitor's own browser: what each ICE URL gives, and a relay-only loop over each TURN URL.

import { attempt, changeButton } from "./actions.js";
import { call } from "./api.js";
import { bytes, field, h, setText } from "./dom.js";
import { explain, gather, loop, unreachable } from "./rtc.js";

export const title = "Browser test";

const LATE = "The server did not answer in time: a firewall swallows the packets, or the way there is very slow.";
const COLUMNS = ["URL", "host", "srflx", "relay", "Round trip", "Throughput", "Finding"];

export function show(main, _, signal) {
  const start = changeButton({ type: "submit", class: "primary", text: "Test this connection", id: "start-test" });
  const state = h("p", { class: "hint", role: "status", id: "test-state" });
  const verdict = h("ul", { class: "verdict" });
  const extra = h("input", { name: "extra", placeholder: "turns:turn.example.org:5349", autocomplete: "off", spellcheck: "false", pattern: "\\s*(stuns?|turns?):\\S+\\s*" });
  const body = h("tbody", { role: "rowgroup" });
  const table = h("div", { class: "scroll", role: "region", "aria-label": "Results", tabindex: "0" },
    h("table", { role: "table" }, h("caption", { class: "hidden", text: "Results by ICE URL" }),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        ...COLUMNS.map((name) => h("th", { scope: "col", role: "columnheader", text: name })))), body));
  const results = h("section", { hidden: true }, h("h2", { text: "Result" }), verdict, h("details", {}, h("summary", { text: "Details by URL" }), table,
    h("p", { class: "hint", text: "host: an address of this device. srflx: the address under which the server sees this device. relay: an address on the server, which works where nothing else does." })));
  const form = h("form", { class: "form-column" },
    h("p", { text: "Sees what a Node in this browser, on this network, would get: whether it can be reached directly, and how fast each relay is. It takes about ten seconds, and sends data through the relay for two of them." }),
    start,
    h("details", {}, h("summary", { text: "Test another URL too" }),
      field("URL", extra, "Such as a turns: one that Nodes are not told. Only servers of your own: they see the test's user name.")));
  main.append(h("section", {}, form, state), results);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (start.getAttribute("aria-disabled")) return; // not disabled, which would take the focus from it
    start.setAttribute("aria-disabled", "true");
    results.setAttribute("aria-busy", "true");
    body.replaceChildren();
    verdict.replaceChildren();
    const say = (findings) => verdict.replaceChildren(...conclude(findings).map(({ good, text }) => h("li", { class: good ? "good" : "bad", text })));
    if (!await attempt(() => runAll({ body, results, state, say }, extra.value.trim(), signal))) setText(state, "The test did not run to its end.");
    results.removeAttribute("aria-busy");
    start.removeAttribute("aria-disabled");
  });
}

// conclude says in words what the findings come to: whether a direct connection can work, and which relay does.
function conclude(findings) {
  const stun = findings.filter((f) => !f.relay);
  const relays = findings.filter((f) => f.relay);
  const speed = (f) => `${bytes(f.bytesPerSecond)}/s, ${f.roundTrip.toFixed(0)} ms there and back, ${(f.lost * 100).toFixed(1)} % lost`;
  const lines = [];
  if (stun.some((f) => f.good)) lines.push({ good: true, text: "The server sees this device, so a direct connection can work, where the other side's network lets it." });
  else if (stun.length) lines.push({ good: false, text: "STUN gets no answer: connections from here will need the relay. " + stun[0].text });
  const over = (protocol) => relays.find((f) => f.good && f.protocol === protocol);
  const [udp, tcp] = [over("udp"), over("tls") ?? over("tcp")];
  if (udp) lines.push({ good: true, text: `The relay over UDP works: ${speed(udp)}.` });
  if (tcp) lines.push({ good: true, text: `Where UDP is blocked, the relay over ${tcp.protocol.toUpperCase()} works: ${speed(tcp)}.` });
  if (!udp && !tcp && relays.length) lines.push({ good: false, text: "No relay works from here, so Nodes here reach others directly or not at all. " + relays[0].text });
  else if (!udp && relays.length) lines.push({ good: false, text: "The relay over UDP does not work from here: " + (relays.find((f) => !f.good)?.text ?? "none is offered.") });
  return lines;
}

// runAll tests one URL after the other, so that none gets in the way of the next one's measurement.
async function runAll({ body, results, state, say }, extra, signal) {
  if (typeof RTCPeerConnection === "undefined") throw new Error("this browser has no WebRTC, or it is switched off");
  const [answer, { certificate }] = await Promise.all([
    call("POST", "/api/test", { body: {}, signal }), call("GET", "/api/status", { signal }),
  ]);
  const servers = [...((answer.rtcConfiguration ?? answer).iceServers ?? [])];
  if (extra) servers.push({ ...servers.find((s) => s.username), urls: extra });
  if (servers.length === 0) throw new Error("Nodes are given no ICE URL: see Set-up");
  const tests = servers.flatMap((server) => [server.urls].flat().map((url) => ({
    url, server: { urls: [url], username: server.username, credential: server.credential ?? server.password },
  })));
  const rows = tests.map(({ url }) => {
    const row = h("tr", { role: "row" }, ...COLUMNS.map((name) => h("td", { role: "cell", "data-head": name, text: "…" })));
    row.children[0].replaceChildren(h("code", { text: url }));
    return row;
  });
  body.replaceChildren(...rows);
  results.hidden = false;
  const findings = [];
  for (const [i, test] of tests.entries()) {
    if (signal.aborted) return;
    setText(state, `Testing ${test.url} (${i + 1} of ${tests.length}) …`);
    findings.push(await testOne({ ...test, certificate }, rows[i].children, signal));
  }
  const good = findings.filter((f) => f.good).length;
  say(findings);
  setText(state, good === tests.length
    ? `Done: all ${tests.length} URLs work from this browser.`
    : `Done: ${good} of ${tests.length} URLs work from this browser.` + (good ? " A Node needs only one that does." : ""));
}

async function testOne({ url, server, certificate }, cells, signal) {
  const isTURN = /^turns?:/.test(url);
  const finish = (good, text, more) => {
    for (const cell of cells) if (cell.textContent === "…") setText(cell, "–");
    cells[6].replaceChildren(h("div", {}, h("span", { class: good ? "tag good" : "tag bad", text: good ? "works" : "fails" }), " " + text));
    return { relay: isTURN, good, text, ...more };
  };
  let found;
  try {
    found = await gather(server, certificate, signal);
  } catch (err) {
    return finish(false, err.message);
  }
  setText(cells[1], String(found.host.length));
  setText(cells[2], found.srflx.join(", ") || "–");
  setText(cells[3], isTURN ? found.relay.join(", ") || "none" : "–");
  if (!isTURN) {
    if (found.srflx.length > 0) return finish(true, "The server was reached.");
    if (found.error || !found.ended) return finish(false, found.error || LATE);
    // A browser does not tell of an address that is the device's own.
    return finish(true, "No error, and no other address: the server sees this device under its own.");
  }
  if (found.relay.length === 0) {
    // Some browsers tell nothing of a connection that was refused.
    return finish(false, found.error || (found.ended ? unreachable(url, certificate) : LATE));
  }
  try {
    const m = await loop(server, signal);
    setText(cells[4], `${m.roundTrip.toFixed(1)} ms`);
    setText(cells[5], `${bytes(m.bytesPerSecond)}/s`);
    return finish(true, `Both ends spoke through the relay (${m.protocol}).`, m);
  } catch (err) {
    return finish(false, `A relay was given, but the loop failed: ${err.message}. Look at the why-record of dashboard-test, and at turn.peers.`);
  }
}

// The test from the visitor's own browser: what each ICE URL gives, and a relay-only loop over each TURN URL.

import { attempt, changeButton } from "./actions.js";
import { call } from "./api.js";
import { bytes, field, h, setText } from "./dom.js";
import { explain, gather, loop, unreachable } from "./rtc.js";

export const title = "Browser test";

const LATE = "The server did not answer in time: a firewall swallows the packets, or the way there is very slow.";
const COLUMNS = ["URL", "host", "srflx", "relay", "Round trip", "Throughput", "Finding"];

export function show(main, _, signal) {
  const start = changeButton({ type: "submit", class: "primary", text: "Start the test", id: "start-test" });
  const state = h("p", { class: "hint", role: "status", id: "test-state" });
  const extra = h("input", { name: "extra", placeholder: "turns:turn.example.org:5349", autocomplete: "off", spellcheck: "false", pattern: "\\s*(stuns?|turns?):\\S+\\s*" });
  const body = h("tbody", { role: "rowgroup" });
  const results = h("div", { class: "scroll", role: "region", "aria-label": "Results", tabindex: "0", hidden: true },
    h("table", { role: "table" }, h("caption", { class: "hidden", text: "Results by ICE URL" }),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        ...COLUMNS.map((name) => h("th", { scope: "col", role: "columnheader", text: name })))), body));
  const form = h("form", { class: "form-column" },
    field("Another URL (optional)", extra, "Such as a turns: one that Nodes are not told. Only servers of your own: they see the test's user name."),
    start);
  main.append(
    h("p", { text: "This browser asks for a fresh credential, gathers candidates from each ICE URL that Nodes are given, and then talks to itself through the relay alone, first to measure the round trip, then for 2 seconds as fast as it can." }),
    h("dl", { class: "facts" },
      h("dt", { text: "host" }), h("dd", { text: "an address of this device" }),
      h("dt", { text: "srflx" }), h("dd", { text: "the address under which the server sees this device" }),
      h("dt", { text: "relay" }), h("dd", { text: "an address on the server, which works where nothing else does" })),
    form, state, results);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (start.getAttribute("aria-disabled")) return; // not disabled, which would take the focus from it
    start.setAttribute("aria-disabled", "true");
    results.setAttribute("aria-busy", "true");
    body.replaceChildren();
    if (!await attempt(() => runAll(body, results, state, extra.value.trim(), signal))) setText(state, "The test did not run to its end.");
    results.removeAttribute("aria-busy");
    start.removeAttribute("aria-disabled");
  });
}

// runAll tests one URL after the other, so that none gets in the way of the next one's measurement.
async function runAll(body, results, state, extra, signal) {
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
  const good = findings.filter(Boolean).length;
  setText(state, good === tests.length
    ? `Done: all ${tests.length} URLs work from this browser.`
    : `Done: ${good} of ${tests.length} URLs work from this browser.` + (good ? " A Node needs only one that does." : ""));
}

async function testOne({ url, server, certificate }, cells, signal) {
  const isTURN = /^turns?:/.test(url);
  const finish = (good, text) => {
    for (const cell of cells) if (cell.textContent === "…") setText(cell, "–");
    cells[6].replaceChildren(h("div", {}, h("span", { class: good ? "tag good" : "tag bad", text: good ? "works" : "fails" }), " " + text));
    return good;
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
    return finish(true, `Both ends spoke through the relay (${m.protocol}).`);
  } catch (err) {
    return finish(false, `A relay was given, but the loop failed: ${err.message}. Look at the why-record of dashboard-test, and at turn.peers.`);
  }
}

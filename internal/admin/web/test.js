// The test from the visitor's own browser: what each ICE URL gives, and a relay-only loop over each TURN URL.

import { attempt } from "./actions.js";
import { call } from "./api.js";
import { bytes, h, setText } from "./dom.js";
import { explain, gather, loop } from "./rtc.js";

export const title = "Browser test";

const LATE = "The server did not answer in time.";
const COLUMNS = ["URL", "host", "srflx", "relay", "Round trip", "Throughput", "Finding"];

export function show(main, _, signal) {
  const start = h("button", { type: "button", class: "primary", text: "Start the test", id: "start-test" });
  const state = h("p", { class: "hint", role: "status", id: "test-state" });
  const body = h("tbody");
  const results = h("div", { class: "scroll", role: "region", "aria-label": "Results", tabindex: "0", hidden: true },
    h("table", {}, h("caption", { class: "hidden", text: "Results by ICE URL" }),
      h("thead", {}, h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col", text: name })))), body));
  main.append(
    h("p", { text: "This browser asks for a fresh credential, gathers candidates from each ICE URL that Nodes are given, and then talks to itself through the relay alone, first to measure the round trip, then for 2 seconds as fast as it can." }),
    h("dl", { class: "facts" },
      h("dt", { text: "host" }), h("dd", { text: "an address of this device" }),
      h("dt", { text: "srflx" }), h("dd", { text: "the address under which the server sees this device" }),
      h("dt", { text: "relay" }), h("dd", { text: "an address on the server, which works where nothing else does" })),
    h("p", {}, start), state, results);

  start.addEventListener("click", async () => {
    start.disabled = true;
    body.replaceChildren();
    results.hidden = false;
    await attempt(() => runAll(body, state, signal));
    start.disabled = false;
  });
}

// runAll tests one URL after the other, so that none gets in the way of the next one's measurement.
async function runAll(body, state, signal) {
  if (typeof RTCPeerConnection === "undefined") throw new Error("this browser has no WebRTC, or it is switched off");
  const answer = await call("POST", "/api/test", { body: {}, signal });
  const servers = (answer.rtcConfiguration ?? answer).iceServers;
  const tests = servers.flatMap((server) => [server.urls].flat().map((url) => ({
    url, server: { urls: [url], username: server.username, credential: server.credential ?? server.password },
  })));
  const rows = tests.map(({ url }) => {
    const row = h("tr", {}, ...COLUMNS.map((name) => h("td", { "data-head": name, text: "…" })));
    row.children[0].replaceChildren(h("code", { text: url }));
    return row;
  });
  body.replaceChildren(...rows);
  const findings = [];
  for (const [i, test] of tests.entries()) {
    if (signal.aborted) return;
    setText(state, `Testing ${test.url} (${i + 1} of ${tests.length}) …`);
    findings.push(await testOne(test, rows[i].children, signal));
  }
  const good = findings.filter(Boolean).length;
  setText(state, good === tests.length
    ? `Done: all ${tests.length} URLs work from this browser.`
    : `Done: ${good} of ${tests.length} URLs work from this browser.`);
}

async function testOne({ url, server }, cells, signal) {
  const isTURN = /^turns?:/.test(url);
  const finish = (good, text) => {
    for (const cell of cells) if (cell.textContent === "…") setText(cell, "–");
    cells[6].replaceChildren(h("span", { class: good ? "tag good" : "tag bad", text: good ? "works" : "fails" }), " " + text);
    return good;
  };
  let found;
  try {
    found = await gather(server, signal);
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
    return finish(false, found.error || (found.ended ? explain(701, "", url) : LATE));
  }
  try {
    const m = await loop(server, signal);
    setText(cells[4], `${m.roundTrip.toFixed(1)} ms`);
    setText(cells[5], `${bytes(m.bytesPerSecond)}/s`);
    return finish(true, `Both ends spoke through the relay (${m.protocol}).`);
  } catch (err) {
    return finish(false, `A relay was given, but the loop failed: ${err.message}.`);
  }
}

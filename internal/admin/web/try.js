// The test that a person makes who was sent a link: it tries each URL from this browser, and brings the server what it has found.

import { bytes, h, setText } from "./dom.js";
import { gather, loop } from "./rtc.js";

const [button, state, verdict] = ["start", "state", "verdict"].map((id) => document.getElementById(id));
const token = location.hash.slice(1); // what stands behind the # is never sent to a server by the browser itself
const never = new AbortController().signal;

async function post(path, body) {
  const resp = await fetch(new URL("try/" + path, document.baseURI), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), credentials: "omit", cache: "no-store", redirect: "error",
  });
  if (resp.status === 410) throw new Error("This link has been used, or is too old: ask for another");
  if (!resp.ok) throw new Error(`The server answered with status ${resp.status}`);
  return resp.status === 204 ? null : resp.json();
}

document.getElementById("test").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  button.disabled = true;
  try {
    if (typeof RTCPeerConnection === "undefined") throw new Error("This browser has no WebRTC, or it is switched off: try another browser");
    await run(await post("start", { token }));
  } catch (err) {
    setText(state, `${err.message}.`);
  }
});

async function run({ run: secret, servers, self_signed: selfSigned }) {
  const results = [];
  for (const [i, server] of servers.entries()) {
    setText(state, `Trying ${server.url} (${i + 1} of ${servers.length}) …`);
    const found = await testOne(server);
    results.push(found);
    verdict.append(h("li", { class: found.fault ? "bad" : "good" }, h("code", { text: server.url }), " " + words(found, server.url, selfSigned)));
  }
  await post("result", { run: secret, results });
  const good = results.filter((r) => !r.fault).length;
  setText(state, `Done, thank you: ${good} of ${results.length} ways work, and the operator knows. You can close this page.`);
  document.title = "Connection test: done";
}

function finding(more) {
  return { fault: "", code: 0, round_trip: 0, bytes_per_second: 0, lost: 0, ...more };
}

async function testOne({ url, username, credential }) {
  const server = { urls: [url], username, credential };
  const failed = (found) => {
    if (found.code && found.code !== 701) return finding({ fault: "refused", code: Math.max(0, Math.min(999, found.code)) });
    if (!found.ended) return finding({ fault: "late" });
    return finding({ fault: /^(turns|stuns):/.test(url) ? "no_tls" : "no_answer", code: found.code || 0 });
  };
  let found;
  try {
    found = await gather(server, null, never);
  } catch {
    return finding({ fault: "refused" });
  }
  if (!/^turns?:/.test(url)) {
    // A browser does not tell of an address that is the device's own.
    return found.srflx.length || (found.ended && !found.code) ? finding() : failed(found);
  }
  if (!found.relay.length) return failed(found);
  try {
    const m = await loop(server, never);
    return finding({ round_trip: m.roundTrip, bytes_per_second: m.bytesPerSecond, lost: m.lost });
  } catch {
    return finding({ fault: "no_loop" });
  }
}

// words say it to the person who tests, who cannot do anything at the server.
function words(f, url, selfSigned) {
  const kind = /transport=tcp|^turns:/.test(url) ? "TCP" : "UDP";
  switch (f.fault) {
    case "": return /^turns?:/.test(url)
      ? `works: ${f.round_trip.toFixed(0)} ms there and back, ${bytes(f.bytes_per_second)}/s, ${(f.lost * 100).toFixed(1)} % lost.`
      : "works: the server sees this device.";
    case "no_answer": return `does not work: this network, or a firewall on this device, lets no ${kind} through to the server. Another network may.`;
    case "late": return "does not work: no answer came in time. A firewall swallows the packets, or the way is very slow.";
    case "no_tls": return selfSigned ? "does not work: browsers do not trust the server's certificate." : "does not work: a firewall is in the way, or something on this network breaks into encrypted connections.";
    case "no_loop": return "answers, but nothing arrives over it.";
    default: return `is refused by the server${f.code ? ` (${f.code})` : ""}.`;
  }
}

if (!token) {
  button.disabled = true;
  setText(state, "This address is not whole: open the link exactly as you were sent it.");
}

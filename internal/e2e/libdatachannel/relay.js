// Two peers of libdatachannel, in one process, relay to relay. The argument is {"url", "count", "size", "every", "users":
// [[username, password], twice]}; every is in milliseconds, 0 for all at once. Prints one line of JSON and stays, with its
// relays, until standard input ends.
"use strict";
const { PeerConnection } = require("node-datachannel");
const { version } = require("./node_modules/node-datachannel/package.json");

const { url, users, count, size, every } = JSON.parse(process.argv[2]);
const [, hostname, port] = /^turn:(.*):(\d+)\?transport=udp$/.exec(url); // libjuice, below it, has no other
const began = Date.now();

function fail(error) {
  console.log(JSON.stringify({ ok: false, version, error: String(error?.stack ?? error) }));
  process.exit(1);
}
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
const late = setTimeout(() => fail("not in time"), 60_000 + 1.25 * count * every);

const payload = (i) => Buffer.alloc(size, i % 251);

const [a, b] = users.map(
  ([username, password], i) =>
    new PeerConnection("ab"[i], {
      iceServers: [{ hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port), username, password, relayType: "TurnUdp" }],
      iceTransportPolicy: "relay",
    }),
);
for (const [x, y] of [[a, b], [b, a]]) {
  x.onLocalDescription((sdp, type) => y.setRemoteDescription(sdp, type));
  x.onLocalCandidate((candidate, mid) => {
    if (!candidate.includes(" typ relay")) fail("a candidate that is no relay: " + candidate);
    y.addRemoteCandidate(candidate, mid);
  });
}
b.onDataChannel((theirs) => theirs.onMessage((message) => theirs.sendMessageBinary(message)));
const channel = a.createDataChannel("echo");

let back = 0;
channel.onMessage((message) => {
  if (!payload(back).equals(Buffer.from(message))) fail(`message ${back} came back as another`);
  if (++back < count) return;
  clearTimeout(late);
  console.log(JSON.stringify({ ok: true, version, ms: Date.now() - began }));
  process.stdin.on("end", () => {
    a.close();
    b.close();
    process.exit(0);
  });
  process.stdin.resume();
});
channel.onClosed(() => fail(`the channel ends after ${back} messages`));
channel.onOpen(async () => {
  for (let i = 0; i < count; i++) {
    channel.sendMessageBinary(payload(i));
    if (every) await new Promise((resolve) => setTimeout(resolve, every));
  }
});

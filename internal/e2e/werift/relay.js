// Two peers of werift in one process, relay to relay. The argument is {"url", "count", "size", "every", "users":
// [[username, password], twice]}; every is in milliseconds, 0 for all at once. Prints one line of JSON and stays, with its
// relays, until standard input ends. NODE_EXTRA_CA_CERTS has the certificate to trust.
"use strict";
const { RTCPeerConnection } = require("werift");
const { version } = require("./node_modules/werift/package.json"); // it exports none

const { url, users, count, size, every } = JSON.parse(process.argv[2]);
const began = Date.now();

function fail(error) {
  console.log(JSON.stringify({ ok: false, version, error: String(error?.stack ?? error) }));
  process.exit(1);
}
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
const late = setTimeout(() => fail("not in time"), 60_000 + 1.25 * count * every);

const payload = (i) => Buffer.alloc(size, i % 251);

async function main() {
  const [a, b] = users.map(
    ([username, credential]) => new RTCPeerConnection({ iceServers: [{ urls: url, username, credential }], iceTransportPolicy: "relay" }),
  );
  for (const [x, y] of [[a, b], [b, a]]) {
    x.onIceCandidate.subscribe((candidate) => {
      if (candidate === undefined) return;
      if (!candidate.candidate.includes(" typ relay")) fail("a candidate that is no relay: " + candidate.candidate);
      y.addIceCandidate(candidate.toJSON()).catch(fail);
    });
  }
  b.onDataChannel.subscribe((theirs) => theirs.onMessage.subscribe((message) => theirs.send(message)));

  const channel = a.createDataChannel("echo");
  const opened = new Promise((resolve) => channel.stateChanged.subscribe((state) => state === "open" && resolve()));
  await a.setLocalDescription(await a.createOffer());
  await b.setRemoteDescription(a.localDescription);
  await b.setLocalDescription(await b.createAnswer());
  await a.setRemoteDescription(b.localDescription);
  await opened;

  let back = 0;
  await new Promise(async (resolve) => {
    channel.onMessage.subscribe((message) => {
      if (!payload(back).equals(message)) fail(`message ${back} came back as another`);
      if (++back === count) resolve();
    });
    for (let i = 0; i < count; i++) {
      channel.send(payload(i));
      if (every) await new Promise((sent) => setTimeout(sent, every));
    }
  });
  clearTimeout(late);
  console.log(JSON.stringify({ ok: true, version, ms: Date.now() - began }));
  process.stdin.on("end", async () => {
    await Promise.all([a.close(), b.close()]);
    process.exit(0);
  });
  process.stdin.resume();
}
main().catch(fail);

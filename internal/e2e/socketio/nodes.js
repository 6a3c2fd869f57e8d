// Nodes of the real Socket.IO client against a Broker: node nodes.js URL [PEER_URL]. With a second URL Bob is there, which is
// another replica. Prints one line of JSON; exits with 1 at the first thing that is wrong.
const { io } = require("socket.io-client");

const [url, peerURL = url] = process.argv.slice(2);
const fail = (what) => { console.error("FAILED: " + what); process.exit(1); };
setTimeout(() => fail("not done within 60 s"), 60000).unref();
const same = (got, want, what) => { if (JSON.stringify(got) !== JSON.stringify(want)) fail(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(want)}`); };

const connect = (at, query) => io(at, { transports: ["websocket"], reconnection: false, forceNew: true, query });
const node = (at, id) => new Promise((yes) => {
  const s = connect(at, { id, version: "1.0.0", runtime: "NODE_JS", data: JSON.stringify({ token: "a+b&c%" }) });
  s.on("AUTHENTICATED", (text) => {
    if (JSON.parse(text).iceServers.length < 1) fail("no ICE servers");
    yes(s);
  });
  s.on("connect_error", (e) => fail(`${id}: ${e.message}`));
});
const refused = (at, query) => new Promise((yes) => {
  const s = connect(at, query);
  s.on("connect", () => fail("joined: " + JSON.stringify(query)));
  s.on("connect_error", (e) => { s.close(); yes(e.message); });
});
const ask = (s, event, payload) => new Promise((yes) => s.emit(event, typeof payload === "string" ? payload : JSON.stringify(payload), yes));

const relayed = ["CONNECTION_ATTEMPT", "CONNECTION_ACCEPTANCE", "CONNECTION_REFUSAL", "INCOMING_CONNECTIONS_NOT_ALLOWED",
  "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER", "ICE_CANDIDATES_EXCHANGE_RESPONDER_TO_INITIATOR", "SOCKET_MSG_EXCHANGE"];

async function main() {
  const [alice, bob] = await Promise.all([node(url, "Alice"), node(peerURL, "Bob")]);
  for (const event of relayed) {
    const text = JSON.stringify({ from: "Alice", to: "Bob", sessionId: "s", content: "é\u2028\"\\\n🦊" });
    const got = new Promise((yes) => bob.once(event, (...args) => yes(args)));
    same(await ask(alice, event, text), "OK", event);
    same(await got, [text], event);
  }
  for (const [from, to, n] of [[alice, bob, "Bob"], [bob, alice, "Alice"]]) {
    let next = 0;
    const all = new Promise((yes) => to.on("SOCKET_MSG_EXCHANGE", (t) => {
      const m = JSON.parse(t);
      if (m.n !== next++) fail(`out of order: ${m.n}, not ${next - 1}`);
      if (next === 1000) yes();
    }));
    const acks = [];
    for (let i = 0; i < 1000; i++) acks.push(ask(from, "SOCKET_MSG_EXCHANGE", { to: n, n: i, content: "x".repeat((i * 37) % 5000) }));
    await all;
    same([...new Set(await Promise.all(acks))], ["OK"], "acknowledgements");
    to.off("SOCKET_MSG_EXCHANGE");
  }
  const big = JSON.stringify({ to: "Bob", content: "é".repeat(400000) });
  const whole = new Promise((yes) => bob.once("SOCKET_MSG_EXCHANGE", yes));
  same(await ask(alice, "SOCKET_MSG_EXCHANGE", big), "OK", "a large message");
  if ((await whole) !== big) fail("a large message came changed");

  same(await ask(alice, "SOCKET_MSG_EXCHANGE", { to: "Carol" }), "NOT_CONNECTED", "nobody");
  same(await ask(alice, "SOCKET_MSG_EXCHANGE", "{"), "ERROR", "bad JSON");
  same(JSON.parse(await ask(alice, "ARE_NODES_CONNECTED_TO_BROKER", { ids: ["Bob", "Carol"] })),
    { results: [{ id: "Bob", connected: true }, { id: "Carol", connected: false }] }, "who is connected");
  same(await refused(url, { id: "Bob", version: "1", runtime: "JVM" }), "client already connected", "the same id");
  same(await refused(peerURL, { id: "Alice", version: "1", runtime: "JVM" }), "client already connected", "the same id");
  same(await refused(url, { id: "Dave", version: "1" }), "server side exception: Error: Missing required OnConnectionData value: runtime", "no runtime");
  alice.emit("ARE_NODES_CONNECTED_TO_BROKER", "{}"); // without acknowledgement: ends the original
  alice.emit("SOCKET_MSG_EXCHANGE", Buffer.from("x"), () => {});
  alice.disconnect();
  const again = await node(url, "Alice");
  const gone = new Promise((yes) => bob.once("disconnect", yes));
  bob.emit("UNKNOWN", 1);
  bob.io.engine._sendPacket("ping"); // a client's ping breaks the protocol
  console.log(JSON.stringify({ ok: true, reason: await gone }));
  again.close();
  process.exit(0);
}
main().catch((e) => fail(e.stack));

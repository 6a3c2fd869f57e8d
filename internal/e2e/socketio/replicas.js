// Two Socket.IO servers share one Redis as two Broker replicas do: messages through the adapter, one lock per Node.
// Prints one line of JSON; exits with 1 at the first thing that is wrong.
const { createServer } = require("http");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const Redis = require("ioredis");
const { io } = require("socket.io-client");

const url = process.argv[2];
const fail = (what) => { console.error("FAILED: " + what); process.exit(1); };
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
setTimeout(() => fail("not done within 40 s"), 40000).unref();

async function replica(name) {
  const pub = createClient({ url });
  const sub = pub.duplicate();
  for (const c of [pub, sub]) c.on("error", (e) => fail(`${name}: ${e.message}`));
  await Promise.all([pub.connect(), sub.connect()]);
  const http = createServer();
  const server = new Server(http, { adapter: createAdapter(pub, sub) });
  server.on("connection", (s) => {
    s.join(s.handshake.query.id);
    s.on("to", (id, text) => server.to(id).emit("msg", text));
  });
  await new Promise((r) => http.listen(0, "127.0.0.1", r));
  return { server, pub, sub, url: `http://127.0.0.1:${http.address().port}` };
}

const node = (r, id) => new Promise((yes) => {
  const s = io(r.url, { transports: ["websocket"], query: { id } });
  s.on("connect", () => yes(s));
});

async function main() {
  const [one, two] = await Promise.all([replica("one"), replica("two")]);
  const [alice, bob] = await Promise.all([node(one, "Alice"), node(two, "Bob")]);
  const sockets = await one.server.fetchSockets();
  if (sockets.length !== 2) fail(`replica one sees ${sockets.length} of 2 sockets`);
  let got = 0;
  const all = new Promise((yes) => bob.on("msg", (t) => { if (t !== "n" + got++) fail("out of order: " + t); if (got === 200) yes(); }));
  for (let i = 0; i < 200; i++) alice.emit("to", "Bob", "n" + i);
  await all;
  const big = "x".repeat(900000);
  const whole = new Promise((yes) => alice.on("msg", yes));
  bob.emit("to", "Alice", big);
  if ((await whole) !== big) fail("a message of 900 kB came back changed");

  // Locks, as the Broker takes them: SET PX NX, PEXPIRE, GET, DEL.
  const a = new Redis(url), b = new Redis(url);
  for (const c of [a, b]) c.on("error", (e) => fail(e.message));
  if (await a.set("Alice", "socket-a", "PX", 400, "NX") !== "OK") fail("the first lock is refused");
  if (await b.set("Alice", "socket-b", "PX", 400, "NX") !== null) fail("a held lock was taken");
  for (let i = 0; i < 4; i++) {
    await sleep(200);
    if (await a.pexpire("Alice", 400) !== 1) fail("the lock was lost while it was extended");
  }
  if (await b.get("Alice") !== "socket-a") fail("the lock has changed hands");
  a.disconnect(); // the holder is killed: nobody extends or deletes any more
  const killed = Date.now();
  while (await b.set("Alice", "socket-b", "PX", 5000, "NX") === null) {
    if (Date.now() - killed > 5000) fail("the lock of a killed holder does not expire");
    await sleep(20);
  }
  const held = Date.now() - killed;
  if (await b.del("Alice") !== 1 || await b.get("Alice") !== null) fail("DEL");

  b.disconnect();
  alice.close(); bob.close();
  console.log(JSON.stringify({ ok: true, held }));
  process.exit(0);
}
main().catch((e) => fail(e.stack));

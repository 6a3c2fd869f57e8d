// As much of the original Broker as shares a Redis with others: locks by ioredis under the bare id, messages by
// @socket.io/redis-adapter, and an extension of locks every second. PORT and REDIS_URL are its environment, as the original's.
const { createServer } = require("http");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const Redis = require("ioredis");

const { PORT, REDIS_URL, REDIS_LOCK_TTL_MS = "60000" } = process.env;
const ttl = Number(REDIS_LOCK_TTL_MS);
const relayed = ["CONNECTION_ATTEMPT", "CONNECTION_ACCEPTANCE", "CONNECTION_REFUSAL", "INCOMING_CONNECTIONS_NOT_ALLOWED",
  "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER", "ICE_CANDIDATES_EXCHANGE_RESPONDER_TO_INITIATOR", "SOCKET_MSG_EXCHANGE"];

async function main() {
  const [publisher, subscriber, locks] = [createClient({ url: REDIS_URL }), createClient({ url: REDIS_URL }), new Redis(REDIS_URL + "?family=0")];
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const http = createServer();
  const server = new Server(http, { transports: ["websocket"], adapter: createAdapter(publisher, subscriber) });
  const here = new Set();
  setInterval(() => { for (const id of here) locks.pexpire(id, ttl); }, 1000);
  server.use(async (socket, next) => {
    const { id } = socket.handshake.query;
    if ((await locks.set(id, socket.id, "PX", ttl, "NX")) !== "OK") return next(new Error("client already connected"));
    here.add(id);
    socket.on("disconnect", () => { here.delete(id); locks.del(id); });
    for (const event of relayed) {
      socket.on(event, async (payload, ack) => {
        const sid = await locks.get(JSON.parse(payload).to);
        if (sid === null) return ack("NOT_CONNECTED");
        ack("OK");
        socket.to(sid).emit(event, payload);
      });
    }
    socket.on("ARE_NODES_CONNECTED_TO_BROKER", async (payload, ack) => {
      const results = [];
      for (const id of JSON.parse(payload).ids) results.push({ id, connected: (await locks.get(id)) !== null });
      ack(JSON.stringify({ results }));
    });
    next();
  });
  server.on("connection", (socket) => socket.emit("AUTHENTICATED", "{}"));
  http.listen(Number(PORT), "127.0.0.1");
}
main();

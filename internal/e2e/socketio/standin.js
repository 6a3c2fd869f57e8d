// What the Broker is measured against: the same events on npm's socket.io, without webhooks and without Redis. Prints its
// address when it listens.
const { createServer } = require("http");
const { Server } = require("socket.io");

const locks = new Map(); // Node id to socket id
const configuration = JSON.stringify({ iceServers: [{ urls: ["stun:localhost:3478"] }], iceTransportPolicy: "all" }, null, 2);
const relayed = ["CONNECTION_ATTEMPT", "CONNECTION_ACCEPTANCE", "CONNECTION_REFUSAL", "INCOMING_CONNECTIONS_NOT_ALLOWED",
  "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER", "ICE_CANDIDATES_EXCHANGE_RESPONDER_TO_INITIATOR", "SOCKET_MSG_EXCHANGE"];

const http = createServer();
const server = new Server(http, { transports: ["websocket"], cors: { origin: "*", methods: "*", credentials: true } });

server.use(async (socket, next) => {
  const { id, version, runtime } = socket.handshake.query;
  for (const [name, value] of Object.entries({ id, version, runtime })) {
    if (typeof value !== "string") return next(new Error("server side exception: Error: Missing required OnConnectionData value: " + name));
  }
  if (locks.has(id)) return next(new Error("client already connected"));
  locks.set(id, socket.id);
  socket.on("disconnect", () => locks.delete(id));
  for (const event of relayed) {
    socket.on(event, async (payload, ack) => {
      try {
        const to = JSON.parse(payload).to.trim();
        if (to === "") return ack("ERROR");
        const sid = await locks.get(to);
        if (sid === undefined) return ack("NOT_CONNECTED");
        ack("OK");
        socket.to(sid).emit(event, payload);
      } catch {
        if (typeof ack === "function") ack("ERROR");
      }
    });
  }
  socket.on("ARE_NODES_CONNECTED_TO_BROKER", async (payload, ack) => {
    try {
      const ids = JSON.parse(payload).ids.map((id) => id.trim());
      ack(JSON.stringify({ results: ids.map((id) => ({ id, connected: locks.has(id) })) }));
    } catch {
      if (typeof ack === "function") ack("ERROR");
    }
  });
  next();
});
server.on("connection", (socket) => socket.emit("AUTHENTICATED", configuration));

http.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${http.address().port}`));

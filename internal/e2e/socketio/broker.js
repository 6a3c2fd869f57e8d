// As much of a Broker as the Nodes of docs/tutorial need: it asks the webhooks as the Broker does, and passes messages on.
// Prints its URL when it listens.
const { createServer } = require("http");
const { Server } = require("socket.io");

const hooks = process.argv[2];
const ask = async (path, body) => {
  const res = await fetch(hooks + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  return res.json();
};

const nodes = new Map();
const http = createServer();
const server = new Server(http, { transports: ["websocket"] });
server.use(async (socket, next) => {
  const { id, version, runtime } = socket.handshake.query;
  if (!id || !version || !runtime) return next(new Error("a value is missing"));
  const { authenticated } = await ask("/authenticate-node", { id });
  next(authenticated ? undefined : new Error("authentication failed"));
});
server.on("connection", async (socket) => {
  const { id } = socket.handshake.query;
  nodes.set(id, socket);
  for (const event of ["CONNECTION_ATTEMPT", "CONNECTION_ACCEPTANCE"]) {
    socket.on(event, async (text, ack) => {
      const { to } = JSON.parse(text);
      if (event === "CONNECTION_ATTEMPT" && !(await ask("/authorize-nodes-communication", { from: id, to })).authorized) return ack("UNAUTHORIZED");
      if (!nodes.has(to)) return ack("NOT_CONNECTED");
      ack("OK");
      nodes.get(to).emit(event, text);
    });
  }
  const { rtcConfiguration } = await ask("/resolve-rtc-configuration", { nodeId: id });
  socket.emit("AUTHENTICATED", JSON.stringify(rtcConfiguration));
});
http.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}`));

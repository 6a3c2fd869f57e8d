// A server with Nodes that come, talk, fail and leave, for pictures of its dashboard. All of it is real but what Nodes say:
// they join the Broker as any Node does, get credentials, and their relays pass what bench/turnload sends.

import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const { io } = createRequire(path.join(root, "docs/tutorial/"))("socket.io-client"); // installed there by npm ci

const NODES = [
  "hub-berlin", "hub-lisbon", "camera-gate", "camera-yard", "tablet-kitchen", "phone-ana", "phone-jun", "laptop-mira",
  "sensor-07", "sensor-08", "sensor-12", "kiosk-station", "printer-2nd-floor", "drone-3",
];

// Calls that come and go: seconds after the others, who, datagrams a second, for how many seconds.
const BURSTS = [
  [25, "phone-jun", 180, 30], [40, "tablet-kitchen", 320, 25], [75, "laptop-mira", 120, 60], [95, "phone-jun", 260, 40], [150, "tablet-kitchen", 200, 60],
  [170, "laptop-mira", 340, 30], [215, "phone-jun", 150, 90],
];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function freePort() {
  const s = createServer();
  await new Promise((done) => s.listen(0, "127.0.0.1", done));
  const { port } = s.address();
  await new Promise((done) => s.close(done));
  return port;
}

function build(dir, name, from) {
  const out = path.join(dir, name);
  execFileSync("go", ["build", "-o", out, from], { cwd: root, stdio: "inherit" });
  return out;
}

/**
 * stage starts it all: {url, strike}. With crowd: false there is a server alone, as on its first day. Programs that are built
 * already are taken from CROLANG_AIO and TURNLOAD.
 */
export async function stage({ crowd = true } = {}) {
  const dir = mkdtempSync(path.join(tmpdir(), "pictures-"));
  const program = process.env.CROLANG_AIO || build(dir, "crolang-aio", ".");
  const children = [];
  const sockets = [];
  const port = {};
  for (const name of ["turn", "turn_tls", "broker", "hooks", "admin"]) port[name] = await freePort();
  const config = path.join(dir, "crolang-aio.toml");
  const settings = (denied) => `
data_dir = "data"
drain_timeout = "0s"
[public]
ipv4 = "127.0.0.1"
[turn]
listen = ["127.0.0.1:${port.turn}"]
listen_tls = ["127.0.0.1:${port.turn_tls}"]
[turn.limits]
allocations_per_node = 4
[turn.peers]
allow = ["127.0.0.1/32"]
[hooks]
listen = "127.0.0.1:${port.hooks}"
[hooks.authorize]
mode = "rules"
default = "allow"
rules = [{from = "kiosk-*", to = "${denied}", action = "deny"}]
[broker]
listen = "127.0.0.1:${port.broker}"
[redis]
enabled = false
[admin]
listen = "127.0.0.1:${port.admin}"
`;
  const reload = (denied) => writeFileSync(config, settings(denied));
  reload("camera-*");
  const run = (file, args, env) => {
    if (struck) return;
    const child = spawn(file, args, { stdio: "ignore", env: { ...process.env, ...env } });
    children.push(child);
  };
  let struck = false;
  const strike = async () => {
    struck = true;
    for (const s of sockets) s.close();
    for (const c of children.reverse()) {
      const over = new Promise((done) => c.once("exit", done));
      if (c.exitCode === null && c.signalCode === null && c.kill()) await over;
    }
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    run(program, ["serve", "--config", config], { CROLANG_AIO_LOG_LEVEL: "error" });
    const url = `http://127.0.0.1:${port.admin}`;
    for (let i = 0; ; i++) {
      if (await fetch(url + "/readyz").then((r) => r.ok, () => false)) break;
      if (i > 600) throw new Error("the server does not get ready");
      await pause(100);
    }
    if (crowd) await play({ dir, url, broker: `http://127.0.0.1:${port.broker}`, turn: `127.0.0.1:${port.turn}`, run, sockets, reload });
    return { url, strike };
  } catch (err) {
    await strike();
    throw err;
  }
}

// join lets a Node join, answer whoever asks it, and resolve to {send, credentials}.
function join(broker, id, sockets, answer = "CONNECTION_ACCEPTANCE") {
  const socket = io(broker, { transports: ["websocket"], reconnection: false, query: { id, version: "2", runtime: "JVM" } });
  sockets.push(socket);
  const send = (event, to, more) => new Promise((done) => socket.emit(event, JSON.stringify({ from: id, to, ...more }), done));
  socket.on("CONNECTION_ATTEMPT", async (text) => {
    const { from } = JSON.parse(text);
    if (answer) await send(answer, from, { sdp: "" });
    if (answer === "CONNECTION_ACCEPTANCE") await candidates(send, from, "RESPONDER_TO_INITIATOR", id);
  });
  return new Promise((done, fail) => {
    socket.on("connect_error", fail);
    socket.once("AUTHENTICATED", (text) => {
      const server = JSON.parse(text).iceServers.find((s) => s.username);
      done({ id, send, credentials: { user: server.username, password: server.password ?? server.credential } });
    });
  });
}

// candidates sends those that a Node of that name would find.
async function candidates(send, to, way, id) {
  const kinds = id.startsWith("camera") ? ["relay"] : id.startsWith("sensor") ? ["host", "relay"] : ["host", "srflx", "relay"];
  for (const kind of kinds) {
    await send("ICE_CANDIDATES_EXCHANGE_" + way, to, { candidate: `candidate:1 1 udp 1 192.0.2.7 4000 typ ${kind} raddr 0.0.0.0 rport 0` });
  }
}

async function play({ dir, url, broker, turn, run, sockets, reload }) {
  const load = process.env.TURNLOAD || build(dir, "turnload", "./bench/turnload");
  const nodes = {};
  const answers = { "printer-2nd-floor": "CONNECTION_REFUSAL", "drone-3": null };
  for (const id of NODES) nodes[id] = await join(broker, id, sockets, id in answers ? answers[id] : undefined);
  // relay opens relays of a Node that pass so many datagrams a second.
  const relay = (id, rate, { transport = "udp", direction = "echo", clients = 1, size = 1100, seconds = 3600 } = {}) => run(load, [
    "-server", turn, "-username", nodes[id].credentials.user, "-transport", transport, "-direction", direction, "-clients", String(clients),
    "-rate", String(rate), "-size", String(size), "-duration", seconds + "s", "-warmup", "0s", "-peer", "127.0.0.1",
  ], { TURNLOAD_PASSWORD: nodes[id].credentials.password });
  const ask = async (id, other) => {
    if (await nodes[id].send("CONNECTION_ATTEMPT", other, { sdp: "" }) === "OK") await candidates(nodes[id].send, other, "INITIATOR_TO_RESPONDER", id);
  };
  await ask("phone-ana", "hub-berlin");
  relay("phone-ana", 90);
  relay("hub-berlin", 60, { transport: "tcp" });
  await ask("camera-gate", "hub-lisbon");
  relay("camera-gate", 240, { direction: "up" });
  await ask("sensor-07", "hub-lisbon");
  relay("sensor-07", 8, { size: 200 });
  await ask("laptop-mira", "phone-jun");
  relay("laptop-mira", 1, { direction: "setup" });
  await ask("tablet-kitchen", "hub-berlin");
  relay("tablet-kitchen", 1, { direction: "setup" });
  for (const [after, id, rate, seconds] of BURSTS) setTimeout(() => relay(id, rate, { seconds }), after * 1000).unref();
  await ask("kiosk-station", "camera-yard");
  await ask("phone-jun", "drone-9");
  await ask("phone-jun", "printer-2nd-floor");
  await ask("sensor-12", "drone-3");
  relay("sensor-08", 4, { clients: 5, size: 200 });
  reload("camera-?*");
  const post = (path, body) => fetch(url + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  await pause(2000);
  sockets[NODES.indexOf("sensor-12")].close();
  await post("/api/bans", { node: "intruder-1", reason: "tries tokens", for: "7d" });
  await post("/api/bans", { node: "sensor-12", reason: "sends garbage", for: "1h" });
}

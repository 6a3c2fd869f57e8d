// A Node small enough to read: it joins a Broker, and talks to another Node over WebRTC, through the relay only.
//
//   node node.mjs BROKER_URL MY_ID            waits for others
//   node node.mjs BROKER_URL MY_ID THEIR_ID   connects to one
//
// The libraries of CrolangP2P do more, and better; their payloads differ, so both ends must be of the same kind.
import { io } from "socket.io-client";
import { RTCPeerConnection } from "werift";

const [broker, me, other] = process.argv.slice(2);
const say = (...words) => console.log(`[${me}]`, ...words);
const fail = (why) => { say(why); process.exit(1); };
if (!me) {
  console.error("usage: node node.mjs BROKER_URL MY_ID [THEIR_ID]");
  process.exit(2);
}
if (other) setTimeout(() => fail("gave up after 30 s"), 30_000).unref();

const socket = io(broker, {
  transports: ["websocket"],
  reconnection: false,
  query: { id: me, version: "2", runtime: "tutorial" },
});
socket.on("connect_error", (e) => fail(e.type === "TransportError" ? `no Broker answers at ${broker}` : `the Broker refused: ${e.message}`));
socket.on("disconnect", (why) => fail(`disconnected: ${why}`));

// The Broker passes a message on to the Node that `to` names, and acknowledges it: OK, UNAUTHORIZED, NOT_CONNECTED.
const send = (event, message) => socket.emit(event, JSON.stringify({ from: me, ...message }), (ack) => {
  if (ack !== "OK") fail(`${event} to ${message.to}: ${ack}`);
});

function peerConnection(rtc, open) {
  const pc = new RTCPeerConnection({
    iceServers: rtc.iceServers.flatMap((s) => s.urls.map((urls) => ({ urls, username: s.username, credential: s.password })))
      .filter((s) => s.urls.startsWith("turn:") && s.urls.endsWith("udp")),
    iceTransportPolicy: "relay", // so that a direct path, which one machine always has, is not taken
  });
  pc.connectionStateChange.subscribe((state) => say("connection:", state));
  pc.onDataChannel.subscribe(open);
  return pc;
}

// described has all candidates in it: nothing is sent after it.
async function described(pc, description) {
  await pc.setLocalDescription(description);
  if (pc.iceGatheringState !== "complete") {
    await pc.iceGatheringStateChange.watch((state) => state === "complete");
  }
  const candidates = pc.localDescription.sdp.match(/typ \w+/g) ?? [];
  say("candidates:", [...new Set(candidates)].join(", ") || "none");
  return pc.localDescription.sdp;
}

socket.once("AUTHENTICATED", async (text) => {
  const rtc = JSON.parse(text);
  say("joined; told of", rtc.iceServers.flatMap((s) => s.urls).join(" "));
  let pc;
  if (!other) {
    say("waiting");
    socket.on("CONNECTION_ATTEMPT", async (text) => {
      const offer = JSON.parse(text);
      pc = peerConnection(rtc, (channel) => channel.onMessage.subscribe((data) => {
        say(`${offer.from} says: ${data}`);
        channel.send(Buffer.from(`hello ${offer.from}, this is ${me}`));
      }));
      await pc.setRemoteDescription({ type: "offer", sdp: offer.sdp });
      send("CONNECTION_ACCEPTANCE", { to: offer.from, sdp: await described(pc, await pc.createAnswer()) });
    });
    return;
  }
  pc = peerConnection(rtc, () => {});
  const channel = pc.createDataChannel("chat");
  channel.stateChanged.subscribe((state) => state === "open" && channel.send(Buffer.from(`hello ${other}, this is ${me}`)));
  channel.onMessage.subscribe((data) => {
    say(`${other} says: ${data}`);
    setTimeout(() => process.exit(0), 500);
  });
  socket.on("CONNECTION_ACCEPTANCE", (text) => pc.setRemoteDescription({ type: "answer", sdp: JSON.parse(text).sdp }));
  send("CONNECTION_ATTEMPT", { to: other, sdp: await described(pc, await pc.createOffer()) });
});

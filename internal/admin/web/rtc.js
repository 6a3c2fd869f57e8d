// WebRTC at work for the browser test.

const GATHER_MS = 12_000;
const CONNECT_MS = 15_000;
const PINGS = 20;
const SEND_MS = 2000;
const CHUNK = 16 * 1024; // what every browser sends in one message
const PROBES = 200; // messages that are not sent again, for the loss
const PROBE_MS = 5;
const PROBE_WAIT_MS = 1000; // for the last ones
const AHEAD = 1024 * 1024; // bytes handed to the browser and not sent yet

/** gather asks one ICE server, which has this certificate, for candidates: {host, srflx, relay: addresses, error: why one failed, code: of that, ended: in time}. */
export async function gather(server, certificate, signal) {
  const pc = new RTCPeerConnection({ iceServers: [server] });
  const found = { host: [], srflx: [], relay: [], error: "", code: 0, ended: false };
  try {
    const done = new Promise((resolve) => {
      pc.addEventListener("icecandidate", ({ candidate }) => {
        if (!candidate) resolve("ended");
        else if (candidate.candidate) note(found, candidate);
      });
      pc.addEventListener("icecandidateerror", (e) => {
        // A device has several addresses; that one of them cannot reach the server says nothing where another can.
        found.code = e.errorCode;
        found.error = explain(e.errorCode, e.errorText, server.urls[0], certificate);
      });
    });
    pc.createDataChannel("gather");
    await pc.setLocalDescription();
    found.ended = (await Promise.race([done, timeout(GATHER_MS), aborted(signal)])) === "ended";
    return found;
  } finally {
    pc.close();
  }
}

function note(found, candidate) {
  const list = found[candidate.type];
  if (!list || !candidate.address) return;
  const address = candidate.address.includes(":") ? `[${candidate.address}]` : candidate.address;
  const text = candidate.type === "host" ? candidate.address : `${address}:${candidate.port}`;
  if (!list.includes(text)) list.push(text);
}

/** explain puts an error of ICE gathering (a STUN error code, or 701 for no answer) into words with a remedy. */
export function explain(code, text, url, certificate) {
  const words = {
    400: "The server found the request malformed.",
    401: "The server refused the credential: it is expired or the clocks differ, or the Node dashboard-test is banned.",
    403: "The server forbids it.",
    437: "The server lost the allocation.",
    438: "The server's nonce was stale: try again.",
    440: "The server does not relay this kind of address.",
    441: "The server knows this connection under another credential.",
    442: "The server does not relay over this transport.",
    486: "The Node has as many allocations as it may: see turn.limits.allocations_per_node.",
    508: "The server has no relay port left, or is draining.",
    701: unreachable(url, certificate),
  };
  return (words[code] ?? "The server could not be used.") + (text ? ` (${code}: ${text.replace(/\.$/, "")})` : "");
}

/** unreachable says why a browser may have had no answer from a URL, and what to do: with TLS it does not tell. */
export function unreachable(url, certificate) {
  const host = url.replace(/^\w+:/, "").replace(/\?.*/, "").replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  if (/^(turns|stuns):/.test(url)) {
    if (certificate?.self_signed) return "No connection, since browsers trust no self-signed certificate: set certs.cert_file and certs.key_file to one of a public authority.";
    if (certificate && new Date(certificate.not_after) < new Date()) return "No connection, since the certificate has ended: renew it.";
    if (certificate && !certificate.names.some((name) => covers(name, host))) return `No connection: the certificate is for ${certificate.names.join(", ")}, not for ${host}. Get one with that name, or set public.host to a name that it has.`;
    return "No connection: a firewall is in the way, or the browser does not trust the certificate's authority.";
  }
  const port = /:(\d+)(\?|$)/.exec(url)?.[1] ?? "3478";
  const kind = /transport=tcp/.test(url) ? "TCP" : "UDP";
  return `No answer: nothing listens there, a firewall or NAT is in the way, or the name does not resolve. Let ${kind} port ${port} through, on the server's side and on this network's.`;
}

function covers(name, host) {
  return name.toLowerCase() === host.toLowerCase() || (name.startsWith("*.") && host.slice(host.indexOf(".")).toLowerCase() === name.slice(1).toLowerCase());
}

function timeout(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function aborted(signal) {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("the test was left"))));
}

async function within(ms, promise, what) {
  return Promise.race([promise, timeout(ms).then(() => Promise.reject(new Error(what)))]);
}

/** loop connects two ends through the relay of one server: {roundTrip (ms, median), bytesPerSecond, lost (0 to 1, of what is not sent again), protocol}. */
export async function loop(server, signal) {
  const config = { iceServers: [server], iceTransportPolicy: "relay" };
  const [a, b] = [new RTCPeerConnection(config), new RTCPeerConnection(config)];
  try {
    const channel = a.createDataChannel("loop");
    channel.binaryType = "arraybuffer";
    const probes = a.createDataChannel("probes", { ordered: false, maxRetransmits: 0 });
    const other = channelOf(b, "loop");
    const otherProbes = channelOf(b, "probes");
    const open = new Promise((resolve) => channel.addEventListener("open", resolve));
    for (const [from, to] of [[a, b], [b, a]]) {
      from.addEventListener("icecandidate", ({ candidate }) => candidate && to.addIceCandidate(candidate).catch(() => {}));
    }
    await a.setLocalDescription();
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription();
    await a.setRemoteDescription(b.localDescription);
    await within(CONNECT_MS, Promise.race([open, aborted(signal)]), "the two relays did not reach each other");
    const peer = await within(CONNECT_MS, other, "the data channel did not open");
    peer.binaryType = "arraybuffer";
    const roundTrip = await within(CONNECT_MS, ping(channel, peer), "an echo was lost");
    const lost = await within(CONNECT_MS, probe(probes, await within(CONNECT_MS, otherProbes, "the second data channel did not open")), "the probes stopped");
    const bytesPerSecond = await within(CONNECT_MS, flood(channel, peer, signal), "data stopped");
    return { roundTrip, bytesPerSecond, lost, protocol: await relayProtocol(a) };
  } finally {
    a.close();
    b.close();
  }
}

function channelOf(pc, label) {
  return new Promise((resolve) => pc.addEventListener("datachannel", ({ channel }) => channel.label === label && resolve(channel)));
}

// probe sends small messages that are not sent again, evenly, and returns which part of them did not arrive.
async function probe(channel, peer) {
  if (channel.readyState !== "open") await new Promise((resolve) => channel.addEventListener("open", resolve));
  let arrived = 0;
  peer.onmessage = () => arrived++;
  for (let i = 0; i < PROBES; i++) {
    channel.send("probe".padEnd(160));
    await timeout(PROBE_MS);
  }
  for (const until = performance.now() + PROBE_WAIT_MS; arrived < PROBES && performance.now() < until;) await timeout(20);
  return 1 - Math.min(arrived, PROBES) / PROBES;
}

// ping measures the time to the other end and back, and returns the median.
async function ping(channel, peer) {
  peer.onmessage = (e) => peer.send(e.data);
  const times = [];
  for (let i = 0; i < PINGS; i++) {
    const start = performance.now();
    await new Promise((resolve) => {
      channel.onmessage = resolve;
      channel.send("ping");
    });
    times.push(performance.now() - start);
  }
  return times.sort((x, y) => x - y)[PINGS / 2];
}

// flood sends for SEND_MS as fast as it goes and returns what arrived in a second.
async function flood(channel, peer, signal) {
  let received = 0;
  let first = 0;
  let last = 0;
  peer.onmessage = (e) => {
    last = performance.now();
    first ||= last;
    received += e.data.byteLength;
  };
  const chunk = new Uint8Array(CHUNK);
  channel.bufferedAmountLowThreshold = AHEAD / 2;
  const until = performance.now() + SEND_MS;
  while (performance.now() < until && !signal.aborted) {
    while (channel.bufferedAmount < AHEAD) channel.send(chunk);
    await Promise.race([new Promise((resolve) => { channel.onbufferedamountlow = resolve; }), timeout(100)]);
  }
  if (last <= first) throw new Error("nothing arrived");
  return (received / (last - first)) * 1000;
}

// relayProtocol says over which transport the client's end of the chosen path reaches the server.
async function relayProtocol(pc) {
  const stats = await pc.getStats();
  for (const report of stats.values()) {
    if (report.type === "transport" && report.selectedCandidatePairId) {
      const local = stats.get(stats.get(report.selectedCandidatePairId)?.localCandidateId);
      return local?.relayProtocol ?? local?.protocol ?? "unknown transport";
    }
  }
  return "unknown transport";
}

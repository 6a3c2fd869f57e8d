// Calls the webhooks as the Broker does: axios, a token in the URL's user-info, no time-out. Prints what came of it as
// JSON. Usage: node call.js http://broker:TOKEN@HOST:PORT
'use strict';

const assert = require('assert');
const http = require('http');
const axios = require('axios');

const base = process.argv[2];
const url = new URL(base);
const plain = `http://${url.host}`; // without a token
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const broker = axios.create({ httpAgent: agent });

async function status(promise) {
  try {
    return (await promise).status;
  } catch (error) {
    return error.response ? error.response.status : String(error);
  }
}

async function five(at, query = '') {
  const authenticated = await broker.post(`${at}/authenticate-node${query}`, { id: 'Alice', data: '{"token":"t"}' });
  assert.deepStrictEqual(authenticated.data, { authenticated: true });

  const resolved = await broker.post(`${at}/resolve-rtc-configuration${query}`, { nodeId: 'Alice' });
  const { rtcConfiguration, ...unwrapped } = resolved.data;
  assert.deepStrictEqual(unwrapped, rtcConfiguration);
  for (const server of rtcConfiguration.iceServers) {
    assert(Array.isArray(server.urls) && server.urls.length > 0);
    assert.strictEqual(server.password, server.credential);
  }

  const authorized = await broker.post(`${at}/authorize-nodes-communication${query}`, { from: 'Alice', to: 'Bob' });
  assert.deepStrictEqual(authorized.data, { authorized: true });

  const valid = await broker.post(`${at}/validity-check${query}`, { connectedNodesIds: ['Alice', 'Ben', 'a\nb', '\ud800', '🦊'] });
  assert.deepStrictEqual(valid.data, { invalidNodesIds: ['Ben', 'a\nb', '\ud800'] }, 'validity');

  const message = await broker.post(`${at}/authenticated-socket-msg${query}`, { senderId: 'Alice', receiverId: 'Bob', isReceiverConnected: true });
  assert.strictEqual(message.status, 204);
}

async function main() {
  await five(base);
  await five(plain, `?token=${url.password}`);

  const ids = Array.from({ length: 100000 }, (_, i) => `node-${String(i).padStart(8, '0')}-abcdefghijkl`);
  ids[54321] = 'Ben';
  const many = await broker.post(`${base}/validity-check`, { connectedNodesIds: ids });
  assert.deepStrictEqual(many.data, { invalidNodesIds: ['Ben'] }, 'many ids');

  // One failure of these would end a Broker. They are more than there are sockets, so connections are used again.
  await Promise.all(Array.from({ length: 200 }, (_, i) =>
    broker.post(`${base}/authenticated-socket-msg`, { senderId: `n${i}`, receiverId: 'Bob', isReceiverConnected: false })));
  const large = 'x'.repeat(24 << 20);
  for (const answer of await Promise.all([
    status(broker.post(`${plain}/authenticated-socket-msg`, {})),
    status(broker.post(`${plain}/authenticated-socket-msg?token=wrong`, large)),
    status(broker.post(`${base}/authenticated-socket-msg`, large)),
    status(broker.get(`${base}/authenticated-socket-msg`)),
    status(broker.post(`${base}/authenticated-socket-msg`, 'nonsense', { headers: { 'content-type': 'text/plain' } })),
  ])) {
    assert.strictEqual(answer, 204);
  }

  assert.strictEqual(await status(broker.post(`${plain}/authenticate-node`, { id: 'Alice' })), 401);
  assert.strictEqual(await status(broker.post(`${base}/authenticate-node`, { id: 'a\u0000b' })), 400);
  assert.strictEqual(await status(broker.get(`${base}/authenticate-node`)), 405);
  assert.strictEqual(await status(broker.post(`${base}/resolve-rtc-configuration`, { nodeId: 'Ben' })), 403);
  agent.destroy();
  console.log(JSON.stringify({ ok: true, axios: axios.VERSION }));
}

process.on('unhandledRejection', (error) => { throw error; });
main();

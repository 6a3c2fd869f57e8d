// The five webhooks as a few lines of Express 4: what crolang-aio's are measured against. It does the same work: one
// JSON body parsed, one HMAC per credential, one JSON answer. PORT names the port; "ready" is printed when it listens.
'use strict';

const crypto = require('crypto');
const express = require('express');

const secret = 'a benchmark needs no secret, but the HMAC has to be made';
const urls = ['turn:127.0.0.1:3478?transport=udp', 'turn:127.0.0.1:3478?transport=tcp'];
const banned = new Set();

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(express.json({ limit: '16mb' }));

app.post('/authenticate-node', (req, res) => {
  const id = req.body.id ?? req.body.nodeId;
  res.json({ authenticated: typeof id === 'string' && !banned.has(id) });
});

app.post('/resolve-rtc-configuration', (req, res) => {
  const id = req.body.nodeId ?? req.body.id;
  if (typeof id !== 'string' || banned.has(id)) {
    res.status(403).json({ error: 'banned' });
    return;
  }
  const username = `${Math.floor(Date.now() / 1000) + 43200}:${id}`;
  const password = crypto.createHmac('sha1', secret).update(username).digest('base64');
  const rtcConfiguration = {
    iceServers: [{ urls: ['stun:127.0.0.1:3478'] }, { urls, username, password, credential: password }],
    iceTransportPolicy: 'all',
    bundlePolicy: 'max-bundle',
    rtcpMuxPolicy: 'require',
    iceCandidatePoolSize: 0,
  };
  res.json({ rtcConfiguration, ...rtcConfiguration });
});

app.post('/authorize-nodes-communication', (req, res) => {
  const { from, to } = req.body;
  res.json({ authorized: typeof from === 'string' && typeof to === 'string' && !banned.has(from) && !banned.has(to) });
});

app.post('/validity-check', (req, res) => {
  res.json({ invalidNodesIds: req.body.connectedNodesIds.filter((id) => banned.has(id)) });
});

app.post('/authenticated-socket-msg', (req, res) => {
  res.sendStatus(204);
});

const server = app.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
server.keepAliveTimeout = 60000;
process.on('SIGTERM', () => process.exit(0));

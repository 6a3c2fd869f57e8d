// Calls a webhook 200 times a second with axios, half of the calls on connections that are kept, until its input ends.
// Prints "calling", then what came of it as JSON. Usage: node restart.js http://HOST:PORT
'use strict';

const http = require('http');
const axios = require('axios');

const url = `${process.argv[2]}/resolve-rtc-configuration`;
const agents = [new http.Agent({ keepAlive: true, timeout: 5000 }), new http.Agent()];
const failed = [];
const waiting = new Set();
let calls = 0;

const timer = setInterval(() => {
  for (const httpAgent of agents) {
    calls++;
    const call = axios.post(url, { nodeId: 'Alice' }, { httpAgent })
      .then((answer) => { if (!answer.data.iceServers) failed.push('no configuration'); })
      .catch((error) => failed.push(String(error.code ?? error)))
      .finally(() => waiting.delete(call));
    waiting.add(call);
  }
}, 10);
console.log('calling');

process.stdin.resume().on('end', async () => {
  clearInterval(timer);
  await Promise.all(waiting);
  console.log(JSON.stringify({ calls, failed }));
  process.exit(0);
});

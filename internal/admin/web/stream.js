// How events come from the server: by one stream for all tabs, or by polling where a proxy holds streams back.

import { events, Unauthorized } from "./api.js";
import { election } from "./election.js";

const SILENCE = 5000; // ms without a word after which nothing is expected of a stream any more: there is one each second
const POLLS = 150; // about five minutes, after which the stream is tried again
const FROZEN = 15_000; // ms without a word from the tab that has the stream

// pause waits for so long, or until signal is aborted.
function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}

/**
 * receive calls tell({name, data}) for each event, and tell(null) where the server cannot be reached, until signal is
 * aborted. It throws Unauthorized.
 *
 * A browser makes six connections to a server, so one tab has the stream and gives all others what it gets.
 */
export async function receive(signal, tell) {
  const locks = navigator.locks ?? election;
  const name = "crolang-aio events of " + new URL(".", document.baseURI).pathname; // others may be below other paths
  const others = new BroadcastChannel(name);
  let heard = Date.now();
  others.onmessage = ({ data }) => {
    heard = Date.now();
    if (!signal.aborted) tell(data);
  };
  let mine = null; // aborted when the stream is no longer this tab's
  const lead = async () => {
    const own = mine = new AbortController();
    if (signal.aborted) return;
    await connected(own.signal, (event) => {
      others.postMessage(event);
      tell(event);
    });
  };
  let take = false; // from a tab that the browser has frozen, and that still has the lock
  let waiting = new AbortController();
  const look = setInterval(() => {
    if (!mine && !document.hidden && Date.now() - heard > FROZEN) {
      take = true;
      waiting.abort();
    }
  }, 1000);
  const end = () => {
    waiting.abort();
    mine?.abort();
  };
  signal.addEventListener("abort", end);
  try {
    while (!signal.aborted) {
      if (waiting.signal.aborted) waiting = new AbortController();
      const options = take ? { steal: true } : { signal: waiting.signal };
      take = false;
      try {
        await locks.request(name, options, lead);
      } catch (err) {
        if (err.name !== "AbortError") throw err;
      }
      mine?.abort(); // another tab has taken it
      mine = null;
      heard = Date.now();
    }
  } finally {
    mine?.abort();
    clearInterval(look);
    signal.removeEventListener("abort", end);
    others.close();
  }
}

// connected keeps a connection to the server until signal is aborted.
async function connected(signal, tell) {
  let wait = 500;
  for (let polls = 0; !signal.aborted;) {
    const polling = polls > 0;
    const { heard, silent } = await listen(polling ? { seconds: 2 } : {}, signal, tell);
    if (signal.aborted) return;
    if (heard) wait = 500;
    if (polling && heard) {
      polls--;
    } else if (!polling && silent) {
      polls = POLLS; // the stream is open, and nothing comes of it: a proxy holds it back, or the server is gone
    } else if (heard) { // and ended: proxies do that after a time
      await pause(wait, signal);
    } else {
      polls = 0;
      tell(null);
      await pause(wait, signal);
      wait = Math.min(wait * 2, 10_000);
    }
  }
}

// listen makes one request, and reports whether anything came of it, and whether it was given up since nothing more did.
async function listen(query, signal, tell) {
  const attempt = new AbortController();
  const end = () => attempt.abort();
  const result = { heard: false, silent: false };
  const expect = () => setTimeout(() => {
    result.silent = true;
    end();
  }, SILENCE);
  let quiet = expect();
  signal.addEventListener("abort", end);
  try {
    for await (const event of events(query, attempt.signal)) {
      clearTimeout(quiet);
      quiet = expect();
      result.heard = true;
      if (!signal.aborted) tell(event);
    }
  } catch (err) {
    if (err instanceof Unauthorized) throw err;
  } finally {
    clearTimeout(quiet);
    signal.removeEventListener("abort", end);
  }
  return result;
}

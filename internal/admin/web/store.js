// What the server tells as it happens, kept while the page is open, whichever view is shown.

import { receive } from "./stream.js";

const KEEP_POINTS = 300; // seconds of the plot
const KEEP_NOTES = 300;

/** store holds the newest statistics, the status, the rates of the last minutes and the last events, the newest first. */
export const store = { stats: null, status: null, points: [], notes: [], noteNumber: 0, connected: false, heard: 0, readOnly: false };

const listeners = new Set();

/** watch calls f("stats" | "note" | "state") at each change until signal is aborted. */
export function watch(signal, f) {
  listeners.add(f);
  signal.addEventListener("abort", () => listeners.delete(f));
}

function tell(what) {
  for (const f of listeners) f(what);
}

function onStats(now) {
  const before = store.stats;
  store.stats = now;
  const seconds = before ? (new Date(now.time) - new Date(before.time)) / 1000 : 0;
  // Counters that fall are those of a server that was started again.
  if (seconds > 0.05 && now.bytes_in >= before.bytes_in && now.bytes_out >= before.bytes_out) {
    store.points.push({
      time: new Date(now.time).getTime(),
      in: (now.bytes_in - before.bytes_in) / seconds,
      out: (now.bytes_out - before.bytes_out) / seconds,
    });
    if (store.points.length > KEEP_POINTS) store.points.shift();
  }
  tell("stats");
}

/** recalled adds events of before, the newest first, to what has been told since. */
export function recalled(events) {
  const known = new Set(store.notes.map(same));
  const before = events.filter((e) => !known.has(same(e))).map((e) => ({ ...e, number: ++store.noteNumber }));
  store.notes = [...store.notes, ...before].sort((a, b) => new Date(b.time) - new Date(a.time)).slice(0, KEEP_NOTES);
  tell("note");
}

// same tells events apart. A why-record has times in microseconds, the stream in nanoseconds: Date has milliseconds.
const same = (e) => `${new Date(e.time).getTime()} ${e.kind} ${e.node} ${e.detail}`;

function onNote(note) {
  store.notes.unshift({ ...note, number: ++store.noteNumber });
  if (store.notes.length > KEEP_NOTES) store.notes.pop();
  tell("note");
}

function setConnected(value) {
  if (store.connected === value) return;
  store.connected = value;
  tell("state");
}

/** setStatus keeps what /api/status answered last. */
export function setStatus(status) {
  store.status = status;
  setReadOnly(Boolean(status.read_only)); // a token may come to be another kind while it is used
}

/** setReadOnly notes whether the token may change nothing. */
export function setReadOnly(value) {
  if (store.readOnly === value) return;
  store.readOnly = value;
  window.dispatchEvent(new Event("permission"));
}

/** forget drops everything, after a sign-out. */
export function forget() {
  Object.assign(store, { stats: null, status: null, points: [], notes: [], connected: false });
  tell("state");
}

/** follow keeps the store up to date until signal is aborted; it throws Unauthorized. */
export function follow(signal) {
  return receive(signal, (event) => {
    setConnected(event !== null);
    if (event === null) return;
    store.heard = Date.now();
    if (event.name === "stats") onStats(event.data);
    if (event.name === "note") onNote(event.data);
  });
}

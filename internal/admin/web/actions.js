// What an operator may do, each with its question and its outcome said.

import { call, Unauthorized } from "./api.js";
import { ask, count, field, h, printable, quoted, say } from "./dom.js";
import { store } from "./store.js";

const DURATIONS = [["", "until it is lifted"], ["10m", "10 minutes"], ["1h", "1 hour"], ["24h", "1 day"], ["7d", "7 days"], ["30d", "30 days"]];

/** durationSelect offers how long a ban may last. */
export function durationSelect() {
  return h("select", { name: "for" }, ...DURATIONS.map(([value, text]) => h("option", { value, text })));
}

/** changeButton is a button that changes something on the server: a token that may only look cannot press it. */
export function changeButton(props) {
  const off = store.readOnly && { disabled: true, title: "This token may look and not change anything: sign in with admin.token." };
  return h("button", { ...props, ...off });
}

/** ban bans a Node and says how many allocations were closed. */
export async function ban(node, reason, lasting) {
  const answer = await call("POST", "/api/bans", { body: { node, reason, for: lasting } });
  let closed = `${count(answer.closed)} allocation${answer.closed === 1 ? "" : "s"} closed`;
  if (!answer.kept) closed += "; the disk did not take the ban, and a restart would lose it";
  if (answer.replaced) { // lifting this one would not bring the earlier one back
    say(`${quoted(answer.node)} is banned, in place of the earlier ban; ${closed}.`);
  } else {
    say(`${quoted(answer.node)} is banned; ${closed}.`, { undo: () => unban(node) });
  }
}

/** askBan asks for reason and time, then bans. It resolves to whether that was done. */
export async function askBan(node) {
  const answer = await ask(`Ban ${quoted(node)}?`, [
    h("p", { text: "Its live allocations end at once, and it gets no new ones." }),
    field("Reason", h("input", { name: "reason", maxlength: "1024", autocomplete: "off" }), "Shown in the why-record"),
    field("For", durationSelect()),
  ], "Ban");
  return answer !== null && attempt(() => ban(node, answer.reason, answer.for));
}

/** unban lifts a ban, which can be taken back: with its reason, for the time that it had left. */
export async function unban(node) {
  const lifted = await attempt(async () => {
    const { ban: was } = await call("GET", "/api/node", { query: { id: node } });
    await call("DELETE", "/api/bans", { query: { id: node } });
    const again = () => {
      const left = was?.until ? `${Math.max(1, Math.round((new Date(was.until) - Date.now()) / 1000))}s` : "";
      return attempt(() => ban(node, was?.reason ?? "", left)).then(refreshAll);
    };
    say(`The ban of ${quoted(node)} is lifted.`, { undo: again });
  });
  refreshAll();
  return lifted;
}

// refreshAll lets the view that is shown ask again at once.
function refreshAll() {
  window.dispatchEvent(new Event("refresh"));
}

/** addresses are the relayed addresses of an allocation, one or one in each family, and that they are for TCP if they are. */
export const addresses = (a) => (a.also_relayed ? `${a.relayed} and ${a.also_relayed}` : a.relayed) + (a.relays === "tcp" ? " for TCP" : "");

/** closeAllocation asks, then ends an allocation. */
export async function closeAllocation(allocation) {
  const answer = await ask("Close this allocation?", [
    h("p", {}, `${addresses(allocation)} of `, h("bdi", { text: printable(allocation.node) }),
      " stops relaying at once. The Node may make a new one, unless it is banned."),
  ], "Close it");
  return answer !== null && attempt(async () => {
    await call("DELETE", "/api/allocations/" + encodeURIComponent(allocation.id));
    say("The allocation is closed.");
  });
}

/** testLinkButton makes a link for the person behind a Node, who opens it to test the connection. */
export function testLinkButton(node) {
  return changeButton({
    type: "button", text: "Test link", title: "A link with which this person's browser tests the connection",
    on: { click: () => attempt(async () => {
      // Where this page is reached from elsewhere, so is the test.
      const local = /^(localhost|127\.|\[::1\])/.test(location.hostname);
      const link = await call("POST", "/api/test-links", { body: { node, ...(local ? {} : { base: new URL(".", document.baseURI).href }) } });
      await ask("A link for one test", [
        h("p", { text: `Send it to the person behind ${quoted(node)}, who opens it in a browser where the trouble is. It holds for an hour and one test; the result comes into the why-record.` }),
        field("Link", h("input", { name: "link", value: link.url, readonly: true })),
      ], "Done");
    }) },
  });
}

/** attempt runs f and says what went wrong; it resolves to whether all went well. */
export async function attempt(f) {
  try {
    await f();
    return true;
  } catch (err) {
    say(`That did not work: ${err.message}.`, { bad: true });
    return false;
  }
}

/** every calls f now and each ms until signal is aborted, never twice at once, and not while the page is hidden. */
export function every(ms, signal, f) {
  let running = false;
  let again = false;
  async function once() {
    if (document.hidden || signal.aborted) return;
    again = running; // what is on its way may be an answer to a question of before
    if (running) return;
    running = true;
    try {
      await f();
    } catch (err) {
      if (err instanceof Unauthorized) window.dispatchEvent(new Event("unauthorized"));
      else if (!signal.aborted) console.warn(err.message);
    }
    running = false;
    if (again) once();
  }
  const timer = setInterval(() => running || once(), ms);
  signal.addEventListener("abort", () => clearInterval(timer));
  window.addEventListener("refresh", once, { signal });
  once();
  return once;
}

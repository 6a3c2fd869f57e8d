// Which tab does something for all, where a browser has no locks: those are for HTTPS and loopback only.

const ANSWER = 300; // ms within which the tab that leads answers
const number = crypto.getRandomValues(new Uint32Array(1))[0]; // of two tabs that lead, the one with the lower number goes on

/**
 * election stands in for navigator.locks: request(name, {signal, steal}, lead) runs lead while no other tab does, and rejects
 * with an AbortError where another tab has taken over, or signal was aborted before it was this tab's turn. A tab that is not
 * seen does not lead: browsers slow it down, and may stop it. A tab that ends without a word is not noticed here.
 */
export const election = {
  async request(name, { signal, steal }, lead) {
    const channel = new BroadcastChannel(name + ": who leads");
    const over = new AbortController(); // it is not, or no longer, this tab's turn
    let leads = false;
    let told = null; // what to do when another tab says that it leads, or does no longer
    const say = (what) => channel.postMessage({ what, number });
    const lost = () => over.abort();
    const taken = (signal) => new Promise((found) => { // whether another tab leads
      told = (what) => (what === "leads" || what === "takes") && found(true);
      signal.addEventListener("abort", () => found(false), { once: true });
      setTimeout(() => found(false), ANSWER + Math.random() * ANSWER); // so that not all begin at once
      say("asks");
    });
    channel.onmessage = ({ data }) => {
      if (!leads) told?.(data.what);
      else if (data.what === "takes" || data.what === "leads" && data.number < number) lost();
      else if (data.what !== "gone") say("leads");
    };
    const hide = () => document.hidden && leads && lost();
    document.addEventListener("visibilitychange", hide);
    window.addEventListener("pagehide", lost);
    signal?.addEventListener("abort", lost);
    try {
      if (signal?.aborted) lost();
      while (!over.signal.aborted) {
        if (document.hidden) {
          await seen(over.signal);
          continue;
        }
        if (steal || !await taken(over.signal)) break;
        await new Promise((next) => {
          told = (what) => what === "gone" && next();
          over.signal.addEventListener("abort", next, { once: true });
        });
      }
      if (over.signal.aborted) throw new DOMException("another tab leads", "AbortError");
      leads = true;
      say(steal ? "takes" : "leads");
      await Promise.race([lead(), new Promise((_, no) => {
        over.signal.addEventListener("abort", () => no(new DOMException("another tab leads", "AbortError")));
      })]);
    } finally {
      if (leads) say("gone");
      document.removeEventListener("visibilitychange", hide);
      window.removeEventListener("pagehide", lost);
      signal?.removeEventListener("abort", lost);
      channel.close();
    }
  },
};

// seen waits until the tab is looked at, or signal is aborted.
function seen(signal) {
  return new Promise((next) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      next();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

// What looks wrong with the set-up, above every view.

import { every } from "./actions.js";
import { call } from "./api.js";
import { duration, h, rich } from "./dom.js";
import { setStatus } from "./store.js";

/** followWarnings shows the warnings of the server, and of the clocks, until signal is aborted. */
export function followWarnings(signal) {
  const place = document.getElementById("warnings");
  let shown = "[]";
  const draw = (list) => {
    if (JSON.stringify(list) === shown) return;
    shown = JSON.stringify(list);
    place.hidden = list.length === 0;
    const open = place.querySelector("details")?.open ?? true;
    place.replaceChildren(h("details", { open },
      h("summary", { text: list.length === 1 ? "1 warning about the set-up" : `${list.length} warnings about the set-up` }),
      h("ul", {}, ...list.map((w) => h("li", { "data-warning": w.id }, h("strong", {}, rich(sentence(w.detail))), " ", rich(sentence(w.remedy)))))));
  };
  every(5000, signal, async () => {
    const sent = Date.now();
    const s = await call("GET", "/api/status", { signal });
    const skew = (new Date(s.now) - (sent + Date.now()) / 2) / 1000;
    const list = [...s.warnings];
    if (Math.abs(skew) > 30) {
      list.push({
        id: "clocks", detail: `The server's clock is ${duration(skew)} ${skew > 0 ? "ahead of" : "behind"} this device's`,
        remedy: "Set both by NTP: credentials end by the server's",
      });
    }
    if (signal.aborted) return;
    setStatus(s);
    draw(list);
  });
  signal.addEventListener("abort", () => draw([]));
}

// sentence makes one of a phrase; a configuration key at its beginning stays as it is written.
function sentence(text) {
  if (!text) return "";
  const end = /[.!?]$/.test(text) ? "" : ".";
  if (/^\S+[._]/.test(text)) return text + end;
  return text[0].toUpperCase() + text.slice(1) + end;
}

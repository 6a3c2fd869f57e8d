// The frame of the dashboard: views by the address behind "#", sign-in, theme, and the state of the server.

import { call, hasToken, recall, setToken, Unauthorized } from "./api.js";
import { field, h, setText } from "./dom.js";
import { follow, forget, recalled, setReadOnly, setStatus, store, watch } from "./store.js";
import { followWarnings } from "./warnings.js";
import * as allocations from "./allocations.js";
import * as bans from "./bans.js";
import * as machines from "./machines.js";
import * as node from "./node.js";
import * as nodes from "./nodes.js";
import * as overview from "./overview.js";
import * as setup from "./setup.js";
import * as story from "./story.js";
import * as test from "./test.js";
import * as usage from "./usage.js";

const views = { overview, nodes, node, allocations, bans, usage, machines, setup, story, test };
const main = document.getElementById("main");
const always = new AbortController().signal;

let leave = new AbortController(); // aborted when the present view goes
let first = true;

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const name = Object.hasOwn(views, path) ? path : "overview";
  leave.abort();
  leave = new AbortController();
  const view = views[name];
  const params = new URLSearchParams(query ?? "");
  const title = view.name?.(params) ?? view.title; // a view of one thing bears that thing's name
  const heading = h("h1", { tabindex: "-1" }, h("bdi", { text: title, class: view.name ? "id" : null }));
  main.replaceChildren(heading);
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close(); // it asked about what is not shown any more
  openMenu(false);
  view.show(main, params, leave.signal);
  document.title = `${title} – crolang-aio`;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.hash === "#/" + (name === "node" || name === "story" ? "nodes" : name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) heading.focus(); // so that a screen reader reads where one is
  first = false;
}

// openMenu shows or hides what a narrow screen has behind its button.
function openMenu(open) {
  const button = document.getElementById("menu");
  button.setAttribute("aria-expanded", String(open));
  document.querySelector(".top").classList.toggle("open", open);
}

function setUpMenu() {
  const button = document.getElementById("menu");
  const isOpen = () => button.getAttribute("aria-expanded") === "true";
  button.addEventListener("click", () => openMenu(!isOpen()));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isOpen()) return;
    openMenu(false);
    button.focus();
  });
}

// signIn shows the form for the token, and resolves when the server takes one.
function signIn(wrong) {
  leave.abort();
  document.getElementById("nav").hidden = true;
  drawState();
  document.title = "Sign in – crolang-aio";
  return new Promise((resolve) => {
    const input = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password" });
    const problem = h("p", { class: "problem", role: "alert", text: wrong ? "The server does not take this token." : "" });
    const form = h("form", { class: "signin card" },
      h("h1", { text: "Sign in" }),
      h("input", { type: "text", name: "username", value: "admin", autocomplete: "username", hidden: true }),
      field("Admin token", input, "The value of admin.token; a generated one is in the file admin.token in data_dir. That of admin.read_token may look only."),
      problem,
      h("button", { type: "submit", class: "primary", text: "Sign in" }));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      setToken(input.value.trim());
      try {
        await call("GET", "/api/status");
      } catch (err) {
        setToken("");
        setText(problem, err instanceof Unauthorized ? "The server does not take this token." : err.message);
        input.select();
        return;
      }
      document.getElementById("nav").hidden = false;
      drawState();
      resolve();
    });
    main.replaceChildren(form);
    input.focus();
  });
}

function drawState() {
  const pill = document.getElementById("state");
  const s = store.stats;
  let text = document.getElementById("nav").hidden ? "Signed out" : "Connecting …";
  let kind = "";
  if (s && !store.connected) [text, kind] = ["Connection lost, trying again", "bad"];
  else if (s?.draining) [text, kind] = ["Draining", "warn"];
  else if (s?.not_ready.length) [text, kind] = ["Not ready: " + s.not_ready.join(", "), "bad"];
  else if (s) [text, kind] = ["Ready", "good"];
  setText(pill, text);
  pill.className = "pill " + kind;
  const banner = document.getElementById("banner");
  const lost = s && !store.connected;
  banner.hidden = !lost && !s?.draining;
  document.body.classList.toggle("stale", Boolean(lost));
  if (lost) setText(banner, `The connection to the server is lost. What you see is from ${new Date(store.heard).toLocaleTimeString()}.`);
  else if (s?.draining) setText(banner, "The server is draining: it takes no new allocations and ends when the live ones have ended.");
  // Apart from the alert, which would be read aloud each second.
  const progress = document.getElementById("drain");
  progress.hidden = lost || !s?.drain;
  if (s?.drain) setText(progress, `Live allocations: ${s.drain.allocations}. They are ended in ${Math.ceil(s.drain.seconds_left)} s at the latest.`);
}

function setUpTheme() {
  const button = document.getElementById("theme");
  const names = ["auto", "light", "dark"];
  let now = recall(() => localStorage.getItem("crolang-aio-theme")) ?? "auto";
  if (!names.includes(now)) now = "auto";
  const apply = () => {
    document.documentElement.dataset.theme = now;
    setText(button, "Theme: " + now);
  };
  button.addEventListener("click", () => {
    now = names[(names.indexOf(now) + 1) % names.length];
    recall(() => localStorage.setItem("crolang-aio-theme", now));
    apply();
  });
  apply();
}

// recallEvents fetches what happened while nobody listened.
async function recallEvents(signal) {
  try {
    recalled((await call("GET", "/api/events/recent", { query: { limit: 300 }, signal })).events);
  } catch { // without it the page begins with what happens now
  }
}

async function run() {
  setUpTheme();
  setUpMenu();
  watch(always, drawState);
  const out = document.getElementById("signout");
  const again = () => {
    if (!document.getElementById("nav").hidden) route();
  };
  window.addEventListener("hashchange", again);
  window.addEventListener("permission", () => {
    document.getElementById("readonly").hidden = !store.readOnly;
    if (!first) again();
  });
  for (;;) {
    const session = new AbortController();
    let wrong = false;
    try {
      const status = await call("GET", "/api/status").catch((err) => {
        if (err instanceof Unauthorized) throw err; // after anything else follow tries again
      });
      if (status) setStatus(status);
      if (status) document.getElementById("nav-machines").hidden = !status.fleet;
      out.hidden = !hasToken();
      out.onclick = () => session.abort();
      window.addEventListener("unauthorized", () => {
        wrong = true; // the token was changed while this page was open
        session.abort();
      }, { signal: session.signal });
      route();
      followWarnings(session.signal);
      watch(session.signal, (what) => { // at the beginning, and after a connection that was lost
        if (what === "state" && store.connected) recallEvents(session.signal);
      });
      await follow(session.signal);
    } catch (err) {
      if (!(err instanceof Unauthorized)) throw err;
      wrong = hasToken();
    }
    session.abort(); // what polls ends as well
    setToken("");
    forget();
    setReadOnly(false);
    out.hidden = true;
    await signIn(wrong);
  }
}

run();

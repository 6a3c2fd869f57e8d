// Makes the pictures of the dashboard that README and docs show, from a server that it starts with Nodes that talk.
//
//   npm ci --prefix docs/tutorial            once: its Nodes speak Socket.IO
//   node tools/pictures/pictures.mjs         makes docs/dashboard.png
//   node tools/pictures/pictures.mjs --all DIR   every view, light and dark, on a desktop and a phone, into DIR
//   node tools/pictures/pictures.mjs --hold  only starts the server and its Nodes, until Ctrl-C, for looking at it yourself
//
// It needs Go, Node.js 20.11 or newer and Chromium (or CHROMIUM=its path). --wait SECONDS has the page open for so long before the first
// picture (100): its plot fills, and half a minute after it was made a connection is known to be relayed or direct. --url URL takes pictures of
// a dashboard that runs already, at once; --only VIEW,… with --all takes fewer, --widths PIXELS,… takes them at these widths instead, where the
// layout changes for one; --empty has no Nodes, as on the first day.

import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { chromium } from "./chromium.mjs";

const args = process.argv.slice(2);
const option = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const docs = path.resolve(import.meta.dirname, "../../docs");
const VIEWS = {
  overview: "overview", nodes: "nodes", node: "node?id=phone-ana", story: "story?id=phone-ana&with=hub-berlin", allocations: "allocations",
  bans: "bans", usage: "usage", setup: "setup", test: "test",
};
const only = option("--only")?.split(",");
const widths = option("--widths")?.split(",").map(Number);
const LOOKS = widths ? Object.fromEntries(widths.flatMap((width) => [[width, { width, height: 900 }], [`${width}-dark`, { width, height: 900, dark: true }]])) : {
  desktop: { width: 1440, height: 900 }, "desktop-dark": { width: 1440, height: 900, dark: true },
  phone: { width: 390, height: 844 }, "phone-dark": { width: 390, height: 844, dark: true },
};

const show = async (page, view) => {
  await page.run(`location.hash = "#/${view}"`);
  await page.until(`!document.body.innerText.includes("Connecting") && document.querySelector("main h1")`);
  await pause(2.5); // for what is asked for each second or two
};

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

// picture waits so long with the page open, so that its plot has something to show.
async function picture(url, wait) {
  const browser = chromium();
  try {
    const page = await browser.open(url);
    const all = option("--all");
    await page.look(all ? Object.values(LOOKS)[0] : { width: 1280, height: 1120 });
    await pause(wait);
    if (!all) {
      await show(page, VIEWS.overview);
      writeFileSync(path.join(docs, "dashboard.png"), await page.shot(false));
      return;
    }
    mkdirSync(all, { recursive: true });
    for (const [look, size] of Object.entries(LOOKS)) {
      await page.look(size);
      for (const [name, view] of Object.entries(VIEWS)) {
        if (only && !only.includes(name)) continue;
        await show(page, view);
        writeFileSync(path.join(all, `${name}-${look}.png`), await page.shot(true));
      }
    }
  } finally {
    await browser.close();
  }
}

const given = option("--url");
if (given) {
  await picture(given, Number(option("--wait") ?? 0));
} else {
  const { stage } = await import("./stage.mjs");
  const { url, strike } = await stage({ crowd: !args.includes("--empty") });
  process.once("SIGINT", () => strike().then(() => process.exit(130)));
  process.once("SIGTERM", () => strike().then(() => process.exit(143)));
  if (args.includes("--hold")) {
    console.log(url);
  } else {
    try {
      await picture(url, Number(option("--wait") ?? 100));
    } finally {
      await strike();
    }
    process.exit(); // what would still begin to call
  }
}

// Headless Chromium by the DevTools protocol over a pipe: enough of it to look at pages.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** chromium starts it: {open(url), close}. CHROMIUM names another program than chromium. */
export function chromium() {
  const profile = mkdtempSync(path.join(tmpdir(), "chromium-"));
  const child = spawn(process.env.CHROMIUM || "chromium", [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir=" + profile,
  ], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const over = new Promise((done) => child.once("exit", done));
  const [, , , to, from] = child.stdio;
  const waiting = new Map();
  let last = 0;
  let rest = "";
  from.setEncoding("utf8");
  from.on("data", (text) => {
    const parts = (rest + text).split("\0");
    rest = parts.pop();
    for (const m of parts.map((part) => JSON.parse(part))) {
      if (!m.id) continue;
      const { done, fail } = waiting.get(m.id);
      waiting.delete(m.id);
      if (m.error) fail(new Error(m.error.message));
      else done(m.result);
    }
  });
  const call = (sessionId, method, params) => new Promise((done, fail) => {
    waiting.set(++last, { done, fail });
    to.write(JSON.stringify({ id: last, method, params, sessionId }) + "\0");
  });
  /** open opens a tab: {call, run, until, shot}. */
  async function open(url) {
    const { targetId } = await call(undefined, "Target.createTarget", { url: "about:blank" });
    const { sessionId } = await call(undefined, "Target.attachToTarget", { targetId, flatten: true });
    const here = (method, params) => call(sessionId, method, params);
    const run = async (expression) => {
      const r = await here("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true, userGesture: true });
      if (r.exceptionDetails) throw new Error(JSON.stringify(r.exceptionDetails));
      return r.result.value;
    };
    const until = async (condition) => {
      for (const end = Date.now() + 60_000; !await run(`(() => { try { return Boolean(${condition}); } catch { return false; } })()`);) {
        if (Date.now() > end) throw new Error("after a minute still not: " + condition);
        await new Promise((done) => setTimeout(done, 100));
      }
    };
    /** look sets the size of the screen, and whether the device prefers dark. */
    const look = async ({ width, height, dark, scale = 1 }) => {
      await here("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: scale, mobile: width < 600 });
      await here("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
    };
    const shot = async (whole) => Buffer.from((await here("Page.captureScreenshot", { format: "png", captureBeyondViewport: whole })).data, "base64");
    await here("Page.enable");
    await here("Page.navigate", { url });
    await until(`document.readyState === "complete" && location.href !== "about:blank"`);
    return { call: here, run, until, look, shot };
  }
  async function close() {
    child.kill("SIGKILL");
    await over;
    for (let i = 0; ; i++) { // its helpers may still be writing
      try {
        rmSync(profile, { recursive: true, force: true });
        return;
      } catch (err) {
        if (i === 100) throw err;
        await new Promise((done) => setTimeout(done, 50));
      }
    }
  }
  return { open, close };
}

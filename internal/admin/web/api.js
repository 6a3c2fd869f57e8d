// Calls of the admin API. The token is kept for this tab only and sent as a header, never in a URL or a cookie.

const KEY = "crolang-aio-token";
let token = recall(() => sessionStorage.getItem(KEY)) ?? "";

/** recall runs f, which uses the browser's storage: a browser may forbid that, and the page works without. */
export function recall(f) {
  try {
    return f();
  } catch {
    return null;
  }
}

/** Unauthorized is thrown where the token is missing or wrong. */
export class Unauthorized extends Error {}

/** hasToken reports whether a token is set. */
export function hasToken() {
  return token !== "";
}

/** setToken sets the token for the calls to come; "" forgets it. */
export function setToken(value) {
  token = value;
  recall(() => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)));
}

// A link may bring the token behind "#token=": that part of an address is never sent to a server.
let view = location.hash;
if (view.startsWith("#token=")) {
  setToken(recall(() => decodeURIComponent(view.slice("#token=".length))) ?? "");
  view = "#/overview";
}

// Where a proxy shows the page at a path without the slash at its end, links lead to the one with it: so that they do not
// load the page again, that is its address from the beginning. A token does not stay in it.
history.replaceState(null, "", new URL(view, document.baseURI));

async function request(method, path, { query, body, signal } = {}) {
  const url = new URL("." + path, document.baseURI); // a proxy may show the page below a path
  if (query) url.search = new URLSearchParams(query);
  const headers = {};
  if (token) headers.Authorization = "Bearer " + token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const resp = await fetch(url, {
    method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit", // else a browser would ask for a password itself
    cache: "no-store", redirect: "error",
  });
  if (resp.status === 401) throw new Unauthorized("the token is missing or wrong");
  if (!resp.ok) {
    const text = await resp.json().then((p) => p.error, () => "");
    throw Object.assign(new Error(text || `the server answered with status ${resp.status}`), { status: resp.status });
  }
  return resp;
}

/** call sends a request and returns the decoded answer, null where it has none. */
export async function call(method, path, options) {
  const resp = await request(method, path, options);
  return resp.status === 204 ? null : resp.json();
}

/** events yields {name, data} of /api/events until the connection ends. */
export async function* events(query, signal) {
  const resp = await request("GET", "/api/events", { query, signal });
  const reader = resp.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const event = { name: "", data: null };
      for (const line of part.split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        if (line.startsWith("data: ")) event.data = JSON.parse(line.slice(6));
      }
      if (event.data) yield event;
    }
  }
}

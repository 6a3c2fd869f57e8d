// Building blocks of the page. Text is only ever set as text: nothing that a Node sent is read as HTML.

/**
 * h makes an element. Properties: class, text, on (event listeners), data-… and other attributes; children are nodes or text.
 */
export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  set(el, props);
  el.append(...children.filter((c) => c !== null && c !== undefined));
  return el;
}

/** svg makes an SVG element. */
export function svg(tag, props = {}, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(el, props);
  el.append(...children);
  return el;
}

function set(el, props) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) el.addEventListener(event, listener);
    } else if (name === "text") {
      el.textContent = value;
    } else if (value === true) {
      el.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      el.setAttribute(name, value);
    }
  }
}

/** setText changes an element's text only where it differs, so that nothing flickers or loses its selection. */
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

// What has no glyph of its own, or looks like a space: two ids that differ must look different. A heap of combining marks
// would cover the lines around it.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}|^ | $| (?= )|(?<=\p{M}\p{M})\p{M}/gu;

/** printable shows what cannot be seen, such as a change of the writing direction, as an escape. */
export function printable(text) {
  return text.replace(UNSEEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** quoted is printable for the middle of a sentence, whose writing direction the text does not change. */
export function quoted(text) {
  return `\u2068${printable(text)}\u2069`;
}

/** sentence begins with a capital and ends with a full stop. */
export function sentence(text) {
  return /^[a-z]/.test(text) ? text[0].toUpperCase() + text.slice(1) + "." : text + ".";
}

/** rich is a text of the server's own in which `this` is code. */
export function rich(text) {
  return h("span", {}, ...text.split("`").map((part, i, all) => (i % 2 && i < all.length - 1 ? h("code", { text: part }) : part)));
}

/** dot is a state as a small disc, with the word for those who do not see it. */
export function dot(kind, word) {
  return h("span", { class: "dot " + kind, role: "img", "aria-label": word, title: word });
}

/** nodeLink leads to a Node's why-record. */
export function nodeLink(id) {
  return h("a", { class: "id", href: "#/node?id=" + encodeURIComponent(id) }, h("bdi", { text: printable(id) }));
}

const number = new Intl.NumberFormat("en");

/** count writes a whole number with separators. */
export function count(n) {
  return number.format(n ?? 0);
}

/** bytes writes a number of bytes with a unit (powers of 1000). */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  while (n >= 999.95 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return (i === 0 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

/** rate writes bytes per second; nothing where there is nothing. */
export function rate(n) {
  return n > 0 ? bytes(n) + "/s" : "–";
}

const DAY = [86_400, "d"];
const HOUR = [3600, "h"];
const MINUTE = [60, "min"];
const SECOND = [1, "s"];

/** duration writes seconds with their two largest units, or with one of which it has ten or more, to the nearest. */
export function duration(seconds) {
  const s = Math.abs(seconds);
  for (const [[big, bigUnit], [small, smallUnit]] of [[DAY, HOUR], [HOUR, MINUTE], [MINUTE, SECOND]]) {
    const near = Math.round(s / small) * small;
    if (near < big) continue;
    if (near >= 10 * big) return `${Math.round(s / big)} ${bigUnit}`;
    const rest = (near % big) / small;
    return `${Math.floor(near / big)} ${bigUnit}` + (rest > 0 ? ` ${rest} ${smallUnit}` : "");
  }
  return `${Math.round(s)} s`;
}

// brief writes seconds with their largest unit alone, to the nearest: what is read at a glance, and does not change all the time.
function brief(seconds) {
  const s = Math.abs(seconds);
  for (const [size, unit] of [DAY, HOUR, MINUTE]) if (s >= 0.95 * size) return `${Math.round(s / size)} ${unit}`;
  return `${Math.round(s)} s`;
}

/** ago is a time element that says how long ago, or in how long; the whole time is its title. */
export function ago(iso) {
  return updateAgo(h("time"), iso);
}

/** updateAgo sets such an element to another time, or to now. */
export function updateAgo(el, iso) {
  if (!iso) {
    setText(el, "–");
    return el;
  }
  const t = new Date(iso);
  const d = (Date.now() - t) / 1000;
  el.dateTime = iso;
  el.title = t.toLocaleString();
  if (Math.abs(d) < 1) setText(el, "now");
  else setText(el, d > 0 ? brief(d) + " ago" : "in " + brief(d));
  return el;
}

/**
 * table makes a table with a caption. columns are [heading, class]; its rows come from update(list): key(item) tells rows
 * apart, make(item) gives the cells' contents, and rows that stay keep their elements, so that focus is not lost. Where there are
 * none, update's second parameter says why, else empty does.
 */
export function table(caption, columns, { key, make, empty, kind = "" }) {
  const body = h("tbody", { role: "rowgroup" });
  const none = h("p", { class: "empty", text: empty });
  const scroller = h("div", { class: "scroll " + kind, role: "region", "aria-label": caption, tabindex: "0" },
    h("table", { role: "table" }, // said again since on a phone, where a row is a card, browsers may take it for none
      h("caption", { class: "hidden", text: caption }),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        ...columns.map(([name, cls]) => h("th", { scope: "col", role: "columnheader", class: cls, text: name })))),
      body));
  const el = h("div", {}, scroller, none);
  const rows = new Map();
  function update(list, why = empty) {
    const seen = new Set();
    const focused = document.activeElement?.closest("td");
    const focusedRow = focused && body.contains(focused) ? focused.parentElement : null;
    let place = body.firstChild;
    for (const item of list) {
      const k = key(item);
      if (seen.has(k)) continue;
      seen.add(k);
      let row = rows.get(k);
      if (!row) {
        row = h("tr", { role: "row" }, ...columns.map(([name, cls]) => h("td", { role: "cell", "data-head": name, class: cls })));
        rows.set(k, row);
      }
      fill(row, make(item));
      if (row === place) place = place.nextSibling;
      else body.insertBefore(row, place);
    }
    for (const [k, row] of rows) {
      if (!seen.has(k)) {
        row.remove();
        rows.delete(k);
      }
    }
    scroller.hidden = list.length === 0;
    none.hidden = list.length > 0;
    setText(none, why);
    // A row that moved, or a button that was replaced, has lost the focus.
    if (focusedRow?.isConnected && !focused.contains(document.activeElement)) {
      focused.querySelector("a, button")?.focus({ preventScroll: true });
    }
  }
  update([]);
  return { el, update };
}

// fill puts contents into a row's cells. An element whose like is there already stays.
function fill(row, contents) {
  contents.forEach((content, i) => {
    const cell = row.children[i];
    if (!(content instanceof Node)) {
      setText(cell, content);
      return;
    }
    if (!cell.firstChild?.isEqualNode(content)) cell.replaceChildren(content);
  });
}

let toastTimer;

/** say tells the user, and a screen reader, the outcome of what was done, with a button where undo takes it back. */
export function say(text, { bad = false, undo } = {}) {
  const el = document.getElementById("said");
  el.replaceChildren(h("span", { text }));
  if (undo) el.append(h("button", { type: "button", class: "small", text: "Undo", on: { click: undo } }));
  el.classList.toggle("bad", bad);
  el.classList.add("shown");
  const hide = () => {
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => (el.matches(":hover, :focus-within") ? hide() : el.classList.remove("shown")), undo ? 15_000 : 6000);
  };
  hide();
}

/**
 * pager turns the pages of a long list: query is for the request, update(total) for its answer, first goes back to the
 * start. refresh asks again.
 */
export function pager(size, refresh) {
  let offset = 0;
  const text = h("span", { class: "hint" });
  const turn = (name, by) => h("button", {
    type: "button", class: "small", text: name,
    on: { click: () => { offset = Math.max(0, offset + by); refresh(); } },
  });
  const [back, on] = [turn("Previous", -size), turn("Next", size)];
  const el = h("div", { class: "pager", role: "group", "aria-label": "Pages" }, text, back, on);
  const query = () => ({ limit: size, offset });
  const first = () => { offset = 0; };
  function update(total) {
    if (offset > 0 && offset >= total) { // the list has become shorter
      offset = Math.max(0, Math.ceil(total / size) - 1) * size;
      refresh();
    }
    const here = document.activeElement;
    back.hidden = on.hidden = total <= size;
    back.disabled = offset === 0;
    on.disabled = offset + size >= total;
    if (here === on && on.disabled) back.focus(); // a disabled button would lose the focus
    if (here === back && back.disabled) on.focus();
    setText(text, total > size ? `${count(offset + 1)} to ${count(Math.min(offset + size, total))} of ${count(total)}` : `${count(total)} in all`);
  }
  return { el, query, update, first };
}

/** ask opens a dialog with a form and resolves to the data of its fields, or to null where it was cancelled. */
export function ask(title, fields, action) {
  return new Promise((resolve) => {
    const form = h("form", { method: "dialog" },
      h("h2", { text: title, id: "ask-title" }),
      ...fields,
      h("div", { class: "buttons" },
        h("button", { type: "button", text: "Cancel", on: { click: () => dialog.close() } }),
        h("button", { type: "submit", class: "danger", text: action })));
    const dialog = h("dialog", { "aria-labelledby": "ask-title" }, form);
    let answer = null;
    form.addEventListener("submit", () => {
      answer = Object.fromEntries(new FormData(form));
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** field is a labelled input or select. */
export function field(label, input, hint) {
  const id = "f-" + input.getAttribute("name");
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", id + "-hint");
  return h("div", { class: "field" }, h("label", { for: id, text: label }), input,
    hint ? h("p", { class: "hint", id: id + "-hint", text: hint }) : null);
}

/** labelled is a control with its label before it, which stay together where a line ends. */
export function labelled(text, control) {
  return h("span", { class: "labelled" }, h("label", { for: control.id, text }), control);
}

/** facts is a list of names and values. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, value)]));
}

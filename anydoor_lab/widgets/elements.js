// What all widgets share in the browser: elements, pictures as URLs, a message line, one view's
// hold on its model. Nothing here touches the page before it is called.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export function attributes(node, values) {
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
}

// an element of SVG
export function drawn(tag, values = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  attributes(made, values);
  made.append(...children);
  return made;
}

// a button and what it does
export function button(text, act, properties = {}) {
  const made = element("button", { type: "button", ...properties }, text);
  made.addEventListener("click", act);
  return made;
}

// bytes of Python -> an object URL; revokes the one before
export function urls() {
  const held = new Map();
  return (key, bytes) => {
    if (held.has(key)) URL.revokeObjectURL(held.get(key));
    held.delete(key);
    if (!bytes || !bytes.byteLength) return "";
    held.set(key, URL.createObjectURL(new Blob([bytes], { type: "image/png" })));
    return held.get(key);
  };
}

// keys pressed inside belong to the widget, not to the notebook's shortcuts
export function keepKeys(root) {
  root.dataset.lmSuppressShortcuts = "true";
  root.classList.add("jp-mod-accept-key-events");
  for (const kind of ["keydown", "keyup", "keypress"]) {
    root.addEventListener(kind, (event) => event.stopPropagation());
  }
}

const AGAIN = "What is drawn here stays: run this cell again, with the cells above that it needs, "
  + "and it comes back.";
const restarted = (again) => `The kernel was restarted or is gone. ${again}`;
const unheard = (again) => (
  `The kernel does not answer: it is busy with something else, or gone. ${again}`
);

// `again`: what to do once the kernel is gone
export function messageLine(model, root, again = AGAIN) {
  const line = element("div", { className: "ad-message", role: "status", "aria-live": "polite" });
  const show = () => { line.textContent = model.get("message"); };
  model.on("change:message", show);
  model.on("comm_live_update", () => { line.textContent = restarted(again); });
  show();
  root.append(line);
  return line;
}

// a model as one view uses it: handlers registered through it are removed with the view
export function scoped(model) {
  const kept = [];
  return {
    get: (name) => model.get(name),
    set: (name, value) => model.set(name, value),
    save_changes: () => model.save_changes(),
    send: (...all) => model.send(...all),
    on: (name, handler) => { kept.push([name, handler]); model.on(name, handler); },
    release: () => kept.forEach(([name, handler]) => model.off(name, handler)),
  };
}

export const UPLOAD_LIMIT = 9_000_000; // Jupyter's servers refuse longer messages

export function fileButton(text, accept, take) {
  const input = element("input", { type: "file", accept, "aria-label": text });
  input.addEventListener("change", async () => {
    if (input.files.length) await take(input.files[0]);
    input.value = "";
  });
  return element("label", { className: "ad-file" }, text, input);
}

// ---- groups: one Tab stop each, arrow keys, Home and End inside
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

// the place that a key leads to from `place` of `count`; null where the key means nothing
export function neighbour(key, place, count) {
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return STEPS[key] ? (place + STEPS[key] + count) % count : null;
}

export function roving(root) {
  const all = () => [...root.querySelectorAll("button, input[type=file]")];
  const usable = () => all().filter((one) => !one.disabled);
  let current = null;
  function mark() {
    const able = usable();
    if (!able.includes(current)) current = able[0];
    for (const one of all()) one.tabIndex = one === current ? 0 : -1;
  }
  root.addEventListener("focusin", ({ target }) => { current = target; mark(); });
  root.addEventListener("keydown", (event) => {
    const able = usable(), to = neighbour(event.key, able.indexOf(event.target), able.length);
    if (to === null || !able.includes(event.target)) return;
    able[to].focus();
    event.preventDefault();
  });
  const watch = { childList: true, subtree: true, attributeFilter: ["disabled"] };
  new MutationObserver(mark).observe(root, watch);
  mark();
  return root;
}

// ---- messages that Python must hear
const PATIENCE_MS = 8000;

// a function that sends, and says so where no answer comes
export function heard(model, again = AGAIN) {
  const waiting = new Map();
  let number = 0;
  const tell = (text) => { model.set("message", text); };
  function late(key) {
    waiting.set(key, null);
    tell(unheard(again));
  }
  model.on("msg:custom", (content) => {
    if (!waiting.has(content.heard)) return;
    clearTimeout(waiting.get(content.heard));
    waiting.delete(content.heard);
    if (model.get("message") === unheard(again)) tell("");
  });
  return (content, buffers = []) => {
    const key = `${number += 1}:${Math.random()}`;
    waiting.set(key, setTimeout(() => late(key), PATIENCE_MS));
    try {
      model.send({ ...content, key }, undefined, buffers);
    } catch (error) {
      console.warn(error);
      tell(restarted(again));
    }
  };
}

// ---- files in pieces: Jupyter's servers refuse messages longer than 10 MB
export const PIECE = 4_000_000;
export const LARGEST_FILE = 200_000_000;

export const tooLarge = ({ name, size }) => (size > LARGEST_FILE
  ? `${name} has ${Math.round(size / 1e6)} MB; at most ${LARGEST_FILE / 1e6} MB can be opened `
    + "here, give its path in the notebook instead" : "");

// whether a file could be sent, in pieces, each with `content`
export async function upload(send, content, file) {
  const pieces = Math.max(1, Math.ceil(file.size / PIECE));
  for (let piece = 0; piece < pieces; piece += 1) {
    const bytes = await file.slice(piece * PIECE, (piece + 1) * PIECE).arrayBuffer();
    send({ ...content, name: file.name, piece, pieces }, [bytes]);
  }
}

// keep the pieces that Python sends; the browser's own download begins with the last one
export function downloads(model) {
  let parts = [];
  model.on("msg:custom", ({ download, piece, pieces }, buffers) => {
    if (!download) return;
    if (piece === 0) parts = [];
    parts.push(buffers[0]);
    if (parts.length < pieces) return;
    const href = URL.createObjectURL(new Blob(parts, { type: "image/png" }));
    element("a", { href, download }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
    parts = [];
  });
}

// ---- what the page keeps for as long as it is open: a kernel may go away before it
const KEPT = Symbol.for("anydoor_lab kept");

// name of a widget, whatever kernel is behind it -> what was made with it, and in which session
export function kept() {
  globalThis[KEPT] = globalThis[KEPT] || new Map();
  return globalThis[KEPT];
}

const TAKEN = Symbol.for("anydoor_lab names");

// among views of the same name one of its own, by their order; and what frees it with its view
export function ownName(name) {
  globalThis[TAKEN] = globalThis[TAKEN] || new Set();
  const taken = globalThis[TAKEN];
  let number = 1;
  while (taken.has(`${name} ${number}`)) number += 1;
  const own = `${name} ${number}`;
  taken.add(own);
  return [own, () => taken.delete(own)];
}

// what was made with another kernel's widget of this name; null where nothing was
export function left(all, name, session) {
  const made = all.get(name);
  return made && made.session !== session ? made : null;
}

// ---- strokes on their way to Python: what is asked for next waits for them
const UNDERWAY = Symbol.for("anydoor_lab strokes");

export function underway() {
  globalThis[UNDERWAY] = globalThis[UNDERWAY] || new Set();
  return globalThis[UNDERWAY];
}

export function track(stroke) {
  underway().add(stroke);
  stroke.finally(() => underway().delete(stroke));
  return stroke;
}

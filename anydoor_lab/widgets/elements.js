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

const RESTARTED =
  "The kernel was restarted or is gone: run this cell again. What is drawn here stays.";

export function messageLine(model, root) {
  const line = element("div", { className: "ad-message", role: "status", "aria-live": "polite" });
  const show = () => { line.textContent = model.get("message"); };
  model.on("change:message", show);
  model.on("comm_live_update", () => { line.textContent = RESTARTED; });
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

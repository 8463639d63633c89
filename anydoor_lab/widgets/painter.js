// A picture one draws a mask on. The mask lives in a canvas of the picture's own pixels; every
// finished stroke is one message. What was done is kept as a list, so that undo is exact.
const TOOLS = {
  box: ["Box", "b", "Drag a box; it replaces what is marked"],
  brush: ["Brush", "p", "Paint over what belongs to it"],
  erase: ["Eraser", "e", "Paint over what does not belong to it"],
  polygon: ["Polygon", "g", "Click corners; double click, Enter or the first corner closes it"],
  object: ["+ Object", "o", "Click on the object"],
  ground: ["− Background", "k", "Click on what is not the object"],
  pan: ["Move", "m", "Drag to move a zoomed picture"],
};

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

function shape(tag, parent, className = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  if (className) made.setAttribute("class", className);
  parent.append(made);
  return made;
}

function attributes(node, values) {
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
}

// bytes of Python -> an object URL; revokes the one before
function urls() {
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
function keepKeys(root) {
  root.dataset.lmSuppressShortcuts = "true";
  root.classList.add("jp-mod-accept-key-events");
  for (const kind of ["keydown", "keyup", "keypress"]) {
    root.addEventListener(kind, (event) => event.stopPropagation());
  }
}

const RESTARTED = "The kernel was restarted or is gone: run this cell again. What is drawn here stays.";

function messageLine(model, root) {
  const line = element("div", { className: "ad-message", role: "status", "aria-live": "polite" });
  const show = () => { line.textContent = model.get("message"); };
  model.on("change:message", show);
  model.on("comm_live_update", () => { line.textContent = RESTARTED; });
  show();
  root.append(line);
  return line;
}

// a model as one view uses it: handlers registered through it are removed with the view
function scoped(model) {
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

function fileButton(text, accept, take) {
  const input = element("input", { type: "file", accept, "aria-label": text });
  input.addEventListener("change", async () => {
    if (input.files.length) await take(input.files[0]);
    input.value = "";
  });
  return element("label", { className: "ad-file" }, text, input);
}

const UPLOAD_LIMIT = 9_000_000; // Jupyter's servers refuse longer messages

function painter(shared, el, { tools, prompting = false }) {
  const model = scoped(shared);
  const url = urls();
  const root = element("div", { className: "ad ad-painter" });
  const head = element("p", { className: "ad-head" });
  const bar = element("div", { className: "ad-row", role: "toolbar", "aria-label": "Drawing tools" });
  const view = element("div", { className: "ad-view" });
  const stage = element("div", { className: "ad-stage" });
  const picture = element("img", { draggable: false, alt: "" });
  const canvas = element("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const overlay = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  attributes(overlay, { tabindex: 0, role: "application", preserveAspectRatio: "none" });
  const empty = element("div", { className: "ad-empty" }, "No picture yet: open one.");
  const foot = element("div", { className: "ad-foot" });
  const where = element("span"), hint = element("span");
  stage.append(picture, canvas, overlay);
  view.append(stage, empty);
  foot.append(where, hint);
  root.append(head, bar, view, foot);
  keepKeys(root);

  let tool = tools[0], zoom = 1, size = 8, drawing = null, corners = [], cursor = null;
  let done = [], undone = [], asked = null, mine = false, loading = false, sending = Promise.resolve();
  const width = () => model.get("_width"), height = () => model.get("_height");

  // ---- what is marked
  function paint(step) {
    const points = step.points || [];
    context.globalCompositeOperation = step.kind === "erase" ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = "#0072b2";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = step.size;
    if (["box", "mask", "clear"].includes(step.kind)) context.clearRect(0, 0, width(), height());
    if (step.kind === "box") context.fillRect(...step.rect);
    if (step.kind === "mask" && step.bitmap) context.drawImage(step.bitmap, 0, 0);
    if (step.kind === "mask" && step.bitmap) tint();
    if (!["brush", "erase", "polygon"].includes(step.kind)) return;
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    if (step.kind === "polygon") context.fill();
    else context.stroke();
  }
  function tint() {
    context.globalCompositeOperation = "source-in";
    context.fillRect(0, 0, width(), height());
  }
  function repaint() {
    context.clearRect(0, 0, width(), height());
    const whole = done.findLastIndex((step) => ["box", "mask", "clear"].includes(step.kind));
    done.slice(Math.max(0, whole)).forEach(paint);
  }
  function apply(step) {
    done.push(step);
    undone = [];
    paint(step);
    send();
  }
  function send() {
    refresh();
    sending = sending.then(async () => {
      const blob = await new Promise((ready) => canvas.toBlob(ready, "image/png"));
      if (!blob) return;
      mine = true;
      model.set("_region", new DataView(await blob.arrayBuffer()));
      model.set("strokes", model.get("strokes") + 1);
      mine = false;
      model.save_changes();
      root.dataset.strokes = model.get("strokes");
    });
  }
  async function received() {
    const bytes = model.get("_region");
    const step = { kind: "mask", prompts: asked };
    asked = null;
    root.classList.remove("ad-busy");
    if (bytes && bytes.byteLength) {
      step.bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    }
    done.push(step);
    undone = [];
    paint(step);
    refresh();
    root.dataset.received = Number(root.dataset.received || 0) + 1;
  }
  function step(from, to) {
    if (!from.length || drawing) return;
    to.push(from.pop());
    repaint();
    send();
  }
  const undo = () => step(done, undone), redo = () => step(undone, done);

  // ---- tools
  const buttons = new Map();
  const groups = [0, 1, 2].map(() => element("span", { className: "ad-group" }));
  bar.append(...groups);
  function button(group, text, title, act) {
    const made = element("button", { type: "button", title, "aria-label": title.split(";")[0] }, text);
    made.addEventListener("click", act);
    groups[group].append(made);
    return made;
  }
  for (const name of tools) {
    const [text, key, title] = TOOLS[name];
    const made = button(0, text, `${title} (${key})`, () => choose(name));
    made.setAttribute("aria-label", text);
    made.dataset.tool = name;
    buttons.set(name, made);
  }
  const brushSize = element("input", { type: "range", min: 1, max: 100, "aria-label": "Brush size in pixels" });
  brushSize.style.width = "84px";
  brushSize.addEventListener("input", () => { size = Number(brushSize.value); });
  const sizeField = element("label", { className: "ad-field" }, "Size", brushSize);
  groups[0].append(sizeField);
  const undoButton = button(1, "Undo", "Undo (Ctrl+Z)", undo);
  const redoButton = button(1, "Redo", "Redo (Ctrl+Y)", redo);
  const clearButton = button(1, "Clear", "Clear all marks (Delete)", () => apply({ kind: "clear" }));
  button(2, "−", "Zoom out (-)", () => zoomTo(zoom / 1.5));
  button(2, "+", "Zoom in (+)", () => zoomTo(zoom * 1.5));
  button(2, "Fit", "Show the whole picture (0)", () => zoomTo(1));
  groups[2].append(fileButton("Open…", "image/*", async (file) => {
    if (file.size > UPLOAD_LIMIT) {
      model.set("message", `${file.name} is larger than 9 MB; open it by its path in the notebook`);
      return;
    }
    model.send({ do: "open", name: file.name }, undefined, [await file.arrayBuffer()]);
  }));
  function choose(name) {
    abandon();
    tool = name;
    buttons.forEach((made, own) => made.setAttribute("aria-pressed", own === name));
    sizeField.classList.toggle("ad-hidden", name !== "brush" && name !== "erase");
    overlay.classList.toggle("ad-pan", name === "pan");
    hint.textContent = prompting && name === "box" ? "Drag a box around the object to cut it out" : TOOLS[name][2];
    guide();
  }
  function zoomTo(wanted) {
    zoom = Math.min(12, Math.max(1, wanted));
    const centre = [
      (view.scrollLeft + view.clientWidth / 2) / view.scrollWidth,
      (view.scrollTop + view.clientHeight / 2) / view.scrollHeight,
    ];
    fit();
    view.scrollLeft = centre[0] * view.scrollWidth - view.clientWidth / 2;
    view.scrollTop = centre[1] * view.scrollHeight - view.clientHeight / 2;
  }
  function fit() {
    const ratio = width() / height();
    stage.style.width = `calc(${zoom} * min(100%, ${Math.round(440 * ratio)}px))`;
    stage.style.aspectRatio = `${width()} / ${height()}`;
  }

  // ---- lines that only guide: in an SVG over the picture
  const rim = shape("rect", overlay), rimDark = shape("rect", overlay, "ad-dark");
  const path = shape("polyline", overlay), pathDark = shape("polyline", overlay, "ad-dark");
  const disc = shape("circle", overlay), cross = shape("path", overlay), crossDark = shape("path", overlay, "ad-dark");
  function guide() {
    const shown = drawing && drawing.kind === "box" ? rectangle(drawing) : [0, 0, 0, 0];
    const [x, y, w, h] = shown;
    for (const one of [rim, rimDark]) {
      attributes(one, { x, y, width: w, height: h, visibility: w ? "visible" : "hidden" });
    }
    const line = corners.concat(corners.length && cursor ? [cursor] : []).join(" ");
    for (const one of [path, pathDark]) attributes(one, { points: line });
    const brushing = cursor && (tool === "brush" || tool === "erase");
    attributes(disc, { r: brushing ? size / 2 : 0, cx: cursor ? cursor[0] : 0, cy: cursor ? cursor[1] : 0 });
    const arm = width() / 40;
    const d = cursor && cursor.keyed
      ? `M${cursor[0] - arm} ${cursor[1]}h${2 * arm}M${cursor[0]} ${cursor[1] - arm}v${2 * arm}` : "";
    for (const one of [cross, crossDark]) attributes(one, { d });
  }
  function rectangle({ points }) {
    const [a, b] = [points[0], points[points.length - 1]];
    const x1 = Math.floor(Math.min(a[0], b[0])), y1 = Math.floor(Math.min(a[1], b[1]));
    const x2 = Math.ceil(Math.max(a[0], b[0])), y2 = Math.ceil(Math.max(a[1], b[1]));
    return [x1, y1, x2 - x1, y2 - y1];
  }
  function abandon() {
    if (drawing && drawing.kind !== "box") repaint();
    drawing = null;
    corners = [];
    guide();
  }

  // ---- strokes, by pointer or by key
  function begin(point) {
    if (tool === "object" || tool === "ground") return click(point);
    if (tool === "polygon") return corner(point);
    drawing = { kind: tool, size, points: [point] };
    if (tool !== "box") paint(drawing);
    return guide();
  }
  function extend(point) {
    if (!drawing) return;
    const last = drawing.points[drawing.points.length - 1];
    drawing.points.push(point);
    if (drawing.kind !== "box") paint({ ...drawing, points: [last, point] });
  }
  function finish() {
    const stroke = drawing;
    drawing = null;
    guide();
    if (!stroke) return;
    if (stroke.kind !== "box") {
      done.push(stroke);
      undone = [];
      send();
      return;
    }
    const rect = rectangle(stroke);
    if (rect[2] < 2 || rect[3] < 2) return;
    if (prompting) prompt({ box: [rect[1], rect[0], rect[1] + rect[3], rect[0] + rect[2]], clicks: [] });
    else apply({ kind: "box", rect });
  }
  function corner(point) {
    const near = corners.length > 2 && Math.hypot(point[0] - corners[0][0], point[1] - corners[0][1]);
    if (near !== false && near < width() / 60) return closePolygon();
    corners.push(point);
    return guide();
  }
  function closePolygon() {
    const points = corners;
    corners = [];
    guide();
    if (points.length > 2) apply({ kind: "polygon", points });
  }
  function click(point) {
    const before = done.length ? done[done.length - 1].prompts : null;
    const { box = null, clicks = [] } = before || {};
    const at = [Math.min(height() - 1, Math.floor(point[1])), Math.min(width() - 1, Math.floor(point[0]))];
    prompt({ box, clicks: [...clicks, [...at, tool === "object" ? 1 : 0]] });
  }
  function prompt(prompts) {
    asked = prompts;
    root.classList.add("ad-busy");
    model.send({ do: "prompt", ...prompts });
  }

  // ---- pointer
  function at(event) {
    const bounds = overlay.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * width();
    const y = ((event.clientY - bounds.top) / bounds.height) * height();
    return [Math.min(width(), Math.max(0, x)), Math.min(height(), Math.max(0, y))];
  }
  let pan = null;
  overlay.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !width() || !event.isPrimary) return;
    overlay.setPointerCapture(event.pointerId);
    overlay.focus({ preventScroll: true });
    if (tool === "pan") pan = [event.clientX + view.scrollLeft, event.clientY + view.scrollTop];
    else begin((cursor = at(event)));
  });
  overlay.addEventListener("pointermove", (event) => {
    if (!event.isPrimary) return;
    if (pan) {
      view.scrollLeft = pan[0] - event.clientX;
      view.scrollTop = pan[1] - event.clientY;
      return;
    }
    const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const move of moves.length ? moves : [event]) extend(at(move));
    cursor = at(event);
    tellCursor();
    guide();
  });
  overlay.addEventListener("pointerup", (event) => {
    if (event.isPrimary) finish();
    pan = null;
  });
  overlay.addEventListener("pointercancel", () => { pan = null; abandon(); });
  overlay.addEventListener("pointerleave", () => {
    if (!drawing) cursor = null;
    tellCursor();
    guide();
  });
  overlay.addEventListener("dblclick", () => closePolygon());
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2));
  }, { passive: false });

  // ---- keyboard
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function moveCursor(dx, dy, far) {
    const by = far ? Math.max(10, Math.round(width() / 20)) : 1;
    const [x, y] = cursor || [width() / 2, height() / 2];
    const clamp = (value, most) => Math.min(most, Math.max(0, Math.round(value)));
    cursor = [clamp(x + by * dx, width()), clamp(y + by * dy, height())];
    cursor.keyed = true;
    extend(cursor);
    tellCursor();
    guide();
  }
  function enter() {
    if (!cursor) moveCursor(0, 0);
    else if (drawing) finish();
    else begin(cursor);
  }
  function resize(by) {
    size = Math.min(Number(brushSize.max), Math.max(1, Math.round(size * by)));
    brushSize.value = size;
    guide();
  }
  const KEYS = {
    " ": enter, Escape: abandon, Delete: () => apply({ kind: "clear" }), "+": () => zoomTo(zoom * 1.5),
    Enter: () => (corners.length > 2 ? closePolygon() : enter()),
    "-": () => zoomTo(zoom / 1.5), 0: () => zoomTo(1), "[": () => resize(0.8), "]": () => resize(1.3),
  };
  overlay.addEventListener("keydown", (event) => {
    const key = event.key, lower = key.toLowerCase();
    const chosen = tools.find((name) => TOOLS[name][1] === lower);
    if (event.ctrlKey || event.metaKey) {
      if (lower === "z") (event.shiftKey ? redo : undo)();
      else if (lower === "y") redo();
      else return;
    } else if (ARROWS[key]) moveCursor(...ARROWS[key], event.shiftKey);
    else if (KEYS[key]) KEYS[key]();
    else if (chosen) choose(chosen);
    else return;
    event.preventDefault();
  });

  // ---- showing
  function tellCursor() {
    where.textContent = cursor ? `x ${Math.floor(cursor[0])}, y ${Math.floor(cursor[1])} of ${width()}×${height()}` : `${width()}×${height()} pixels`;
  }
  function refresh() {
    undoButton.disabled = !done.length;
    redoButton.disabled = !undone.length;
    clearButton.disabled = !width();
  }
  async function load() {
    loading = true;
    const there = width() > 0;
    stage.classList.toggle("ad-hidden", !there);
    empty.classList.toggle("ad-hidden", there);
    head.textContent = model.get("label");
    const keys = "arrow keys move a cursor, space begins and ends a stroke, letters choose tools";
    attributes(overlay, { viewBox: `0 0 ${width()} ${height()}`, "aria-label": `${model.get("label")}; ${keys}` });
    done = [];
    undone = [];
    abandon();
    if (!there) {
      loading = false;
      return refresh();
    }
    picture.src = url("picture", model.get("_picture"));
    canvas.width = width();
    canvas.height = height();
    brushSize.max = Math.max(4, Math.round(Math.min(width(), height()) / 3));
    brushSize.value = size = Math.max(2, Math.round(Math.min(width(), height()) / 14));
    zoom = 1;
    fit();
    tellCursor();
    await received();
    loading = false;
    root.dataset.ready = "yes";
  }
  // picture and region come in one message, picture last: take both then
  model.on("change:_picture", load);
  model.on("change:_region", () => {
    if (!mine) queueMicrotask(() => { if (!loading) received(); });
  });
  model.on("change:label", () => { head.textContent = model.get("label"); });
  model.on("change:message", () => { root.classList.remove("ad-busy"); });
  choose(tool);
  load();
  messageLine(model, root);
  el.append(root);
  return () => { model.release(); url("picture", null); };
}

// A picture one draws a mask on: pen, mask, stage and toolbar around one model. The mask lives in
// a canvas of the picture's own pixels; every finished stroke is one message.
import { element, heard, keepKeys, messageLine, scoped, track, urls } from "../elements.js";
import { hintOf } from "./commands.js";
import { listenToFiles, sendFile, sources } from "./files.js";
import { brushSizes, clamp, moved } from "./geometry.js";
import { History } from "./history.js";
import { claim, keep, nameOf, restore } from "./kept.js";
import { Mask } from "./mask.js";
import { Pen } from "./pen.js";
import { listenToKeys, listenToPointer } from "./pointer.js";
import { Stage } from "./stage.js";
import { Toolbar } from "./toolbar.js";

// tools: names of TOOLS; prompting: whether a box asks Python to cut
export function painter(shared, el, { tools, prompting = false }) {
  const one = new Painter(scoped(shared), tools, prompting);
  el.append(one.root);
  return () => one.release();
}

class Painter {
  constructor(model, tools, prompting) {
    this.model = model;
    this.heard = heard(model);
    this.url = urls();
    this.tools = tools;
    this.pen = new Pen(tools[0], prompting);
    this.history = new History();
    this.stage = new Stage();
    this.mask = new Mask(this.stage.canvas);
    this.toolbar = new Toolbar(tools, (command, ...all) => this[command](...all));
    this.sizes = { largest: 100, first: this.pen.size };
    this.asked = []; // what the masks that Python will send were asked for with, in order
    this.answered = false; // whether a mask came for the first of them
    this.name = ""; // of this widget among those whose drawings the page keeps
    this.coming = this.came = null; // { file }, or { number } of an example: to be shown, shown
    this.mine = this.loading = false;
    this.sending = Promise.resolve();
    this.root = this.frame();
    this.listen();
    this.choose(tools[0]);
    this.load();
    messageLine(model, this.stage.frame);
    if (!model.get("_examples").length) this.heard({ do: "examples" });
  }

  frame() {
    this.head = element("p", { className: "ad-head" });
    this.where = element("span");
    this.hint = element("span");
    const head = element("div", { className: "ad-row ad-top" }, this.head, this.toolbar.size);
    const foot = element("div", { className: "ad-foot" }, this.where, this.hint);
    const parts = [head, sources(this), this.toolbar.root, this.stage.frame, foot];
    const root = element("div", { className: "ad ad-painter" }, ...parts);
    keepKeys(root);
    return root;
  }

  get size() {
    return [this.model.get("_width"), this.model.get("_height")];
  }

  release() {
    this.model.release();
    this.free();
    this.stopFiles();
    this.url("picture", null);
  }

  // ---- the model
  listen() {
    const { model } = this;
    // picture and region come in one message, picture last: take both then
    model.on("change:_picture", () => this.load());
    model.on("change:_region", () => {
      if (!this.mine) queueMicrotask(() => { if (!this.loading) this.receive(); });
    });
    model.on("change:label", () => { this.head.textContent = model.get("label"); });
    model.on("change:message", () => { if (model.get("message")) this.busy(""); });
    model.on("msg:custom", (content) => { if (content.done) this.done(content); });
    listenToPointer(this);
    this.stopFiles = listenToFiles(this);
    listenToKeys(this);
  }

  async load() {
    const { size } = this;
    this.loading = true;
    delete this.root.dataset.ready;
    claim(this);
    this.came = this.coming;
    this.coming = null;
    this.shown = nameOf("", this.model.get("_picture"));
    this.head.textContent = this.model.get("label");
    this.stage.show(size, this.model.get("label"));
    this.history.forget();
    this.abandon();
    if (size[0]) await this.loadPicture(size);
    else this.refresh();
    this.loading = false;
    if (size[0]) this.root.dataset.ready = "yes";
    if (!await restore(this) && this.came) keep(this);
  }

  async loadPicture(size) {
    this.stage.picture.src = this.url("picture", this.model.get("_picture"));
    this.mask.resize(size);
    this.pen.picture = size;
    this.sizes = brushSizes(size);
    this.pen.size = this.sizes.first;
    this.toolbar.setSizes(this.sizes.largest, this.pen.size);
    this.stage.fit(1);
    this.tellCursor();
    await this.receive();
  }

  // take the mask that Python has sent
  async receive() {
    const bytes = this.model.get("_region");
    const step = { kind: "mask", prompts: this.asked[0] };
    this.answered = true;
    if (bytes && bytes.byteLength) {
      step.bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    }
    if (this.loading) this.history.begin(step);
    else this.history.add(step);
    this.mask.paint(step);
    this.refresh();
    if (step.prompts) keep(this);
    this.root.dataset.received = Number(this.root.dataset.received || 0) + 1;
  }

  send() {
    const { model } = this;
    this.refresh();
    this.sending = track(this.sending.then(async () => {
      const blob = await this.mask.png();
      if (!blob) return;
      keep(this, blob);
      this.heard({ do: "stroke" });
      this.mine = true;
      model.set("_region", new DataView(await blob.arrayBuffer()));
      model.set("strokes", model.get("strokes") + 1);
      this.mine = false;
      model.save_changes();
      this.root.dataset.strokes = model.get("strokes");
    }));
  }

  refresh() {
    this.toolbar.enable(this.history, this.size[0]);
    this.stage.mark(this.history.last?.prompts);
  }

  // ---- what the pen orders
  carryOut({ paint, keep, apply, prompt, repaint }) {
    this.guide();
    if (paint) this.mask.paint(paint);
    if (repaint) this.mask.show(this.history.shown);
    if (apply) this.mask.paint(apply);
    if (keep || apply) {
      this.history.add(keep || apply);
      this.model.set("message", "");
      this.send();
    }
    if (prompt) this.ask(prompt);
  }

  ask(prompts) {
    this.asked.push(prompts);
    this.stage.mark(prompts);
    this.busy("Cutting…");
    this.heard({ do: "prompt", ...prompts });
  }

  // a sign that Python is at work; "" takes it away
  busy(text) {
    this.root.classList.toggle("ad-busy", Boolean(text));
    this.stage.sign.textContent = text;
    if (!text) this.stage.mark(this.history.last?.prompts);
  }

  // Python has done what was asked for; the same mask again comes without a change
  async done({ done, found }) {
    const prompts = done === "prompt" ? this.asked.shift() : null;
    if (prompts && found && !this.answered) {
      const bitmap = await createImageBitmap(this.stage.canvas);
      this.history.add({ kind: "mask", prompts, bitmap });
    }
    this.coming = null;
    this.answered = false;
    if (!this.asked.length) this.busy("");
    this.refresh();
  }

  tell(text) {
    this.model.set("message", text);
    this.model.save_changes();
  }

  guide() {
    this.stage.guide(this.pen.guides());
  }

  tellCursor() {
    const { cursor } = this.pen, whole = this.size.join("×");
    const [x, y] = (cursor || []).map(Math.floor);
    this.where.textContent = cursor ? `x ${x}, y ${y} of ${whole}` : `${whole} pixels`;
  }

  // ---- commands of buttons and keys
  undo() {
    if (!this.pen.stroke && this.history.undo()) this.showHistory();
  }

  redo() {
    if (!this.pen.stroke && this.history.redo()) this.showHistory();
  }

  showHistory() {
    this.mask.show(this.history.shown);
    this.send();
  }

  clear() {
    this.carryOut({ apply: { kind: "clear" } });
  }

  abandon() {
    this.carryOut(this.pen.abandon());
  }

  choose(tool) {
    this.abandon();
    this.pen.tool = tool;
    this.toolbar.choose(tool);
    this.stage.overlay.classList.toggle("ad-pan", tool === "pan");
    this.hint.textContent = hintOf(tool, this.pen.prompting);
    this.guide();
  }

  zoom(factor, event) {
    this.stage.zoomBy(factor, event);
  }

  setSize(size) {
    this.pen.size = size;
  }

  resize(factor) {
    this.pen.size = clamp(Math.round(this.pen.size * factor), 1, this.sizes.largest);
    this.toolbar.setSizes(this.sizes.largest, this.pen.size);
    this.guide();
  }

  moveCursor(direction, far) {
    const { pen } = this;
    pen.point(moved(pen.cursor, direction, far, this.size), true);
    this.carryOut(pen.extend(pen.cursor));
    this.tellCursor();
  }

  // space: begin a stroke where the cursor is, or end it
  stroke() {
    if (!this.pen.cursor) this.moveCursor([0, 0], false);
    else if (this.pen.stroke) this.carryOut(this.pen.finish());
    else this.begin();
  }

  enter() {
    if (this.pen.corners.length > 2) this.carryOut(this.pen.closePolygon());
    else this.stroke();
  }

  begin() {
    this.carryOut(this.pen.begin(this.pen.cursor, this.asked.at(-1) || this.history.last?.prompts));
  }

  async open(file, kind = "open") {
    if (kind === "open") this.coming = { file };
    await sendFile(this, file, kind);
  }

  example(number) {
    this.coming = { number };
    this.busy("Opening…");
    this.heard({ do: "example", number });
  }
}

// A picture one draws a mask on: pen, mask, stage and toolbar around one model. The mask lives in
// a canvas of the picture's own pixels; every finished stroke is one message.
import { UPLOAD_LIMIT, element, keepKeys, messageLine, scoped, urls } from "../elements.js";
import { commandOf, hintOf } from "./commands.js";
import { brushSizes, clamp, moved } from "./geometry.js";
import { History } from "./history.js";
import { Mask } from "./mask.js";
import { Pen } from "./pen.js";
import { listenToPointer } from "./pointer.js";
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
    this.url = urls();
    this.tools = tools;
    this.pen = new Pen(tools[0], prompting);
    this.history = new History();
    this.stage = new Stage();
    this.mask = new Mask(this.stage.canvas);
    this.toolbar = new Toolbar(tools, (command, ...all) => this[command](...all));
    this.sizes = { largest: 100, first: this.pen.size };
    this.asked = null; // what the mask that Python will send was asked for with
    this.mine = this.loading = false;
    this.sending = Promise.resolve();
    this.root = this.frame();
    this.listen();
    this.choose(tools[0]);
    this.load();
    messageLine(model, this.root);
  }

  frame() {
    this.head = element("p", { className: "ad-head" });
    this.where = element("span");
    this.hint = element("span");
    const foot = element("div", { className: "ad-foot" }, this.where, this.hint);
    const parts = [this.head, this.toolbar.root, this.stage.view, foot];
    const root = element("div", { className: "ad ad-painter" }, ...parts);
    keepKeys(root);
    return root;
  }

  get size() {
    return [this.model.get("_width"), this.model.get("_height")];
  }

  release() {
    this.model.release();
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
    model.on("change:message", () => { this.root.classList.remove("ad-busy"); });
    listenToPointer(this);
    this.stage.overlay.addEventListener("keydown", (event) => {
      const [command, ...all] = commandOf(event, this.tools) || [];
      if (!command) return;
      this[command](...all);
      event.preventDefault();
    });
  }

  async load() {
    const { size } = this;
    this.loading = true;
    this.head.textContent = this.model.get("label");
    this.stage.show(size, this.model.get("label"));
    this.history.forget();
    this.abandon();
    if (size[0]) await this.loadPicture(size);
    else this.refresh();
    this.loading = false;
    if (size[0]) this.root.dataset.ready = "yes";
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
    const step = { kind: "mask", prompts: this.asked };
    this.asked = null;
    this.root.classList.remove("ad-busy");
    if (bytes && bytes.byteLength) {
      step.bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    }
    this.history.add(step);
    this.mask.paint(step);
    this.refresh();
    this.root.dataset.received = Number(this.root.dataset.received || 0) + 1;
  }

  send() {
    const { model } = this;
    this.refresh();
    this.sending = this.sending.then(async () => {
      const blob = await this.mask.png();
      if (!blob) return;
      this.mine = true;
      model.set("_region", new DataView(await blob.arrayBuffer()));
      model.set("strokes", model.get("strokes") + 1);
      this.mine = false;
      model.save_changes();
      this.root.dataset.strokes = model.get("strokes");
    });
  }

  refresh() {
    this.toolbar.enable(this.history, this.size[0]);
  }

  // ---- what the pen orders
  carryOut({ paint, keep, apply, prompt, repaint }) {
    this.guide();
    if (paint) this.mask.paint(paint);
    if (repaint) this.mask.show(this.history.shown);
    if (apply) this.mask.paint(apply);
    if (keep || apply) {
      this.history.add(keep || apply);
      this.send();
    }
    if (prompt) this.ask(prompt);
  }

  ask(prompts) {
    this.asked = prompts;
    this.root.classList.add("ad-busy");
    this.model.send({ do: "prompt", ...prompts });
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

  zoom(factor) {
    this.stage.zoomBy(factor);
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
    this.carryOut(this.pen.begin(this.pen.cursor, this.history.last?.prompts));
  }

  async open(file) {
    if (file.size > UPLOAD_LIMIT) {
      const told = `${file.name} is larger than 9 MB; open it by its path in the notebook`;
      this.model.set("message", told);
      return;
    }
    const bytes = await file.arrayBuffer();
    this.model.send({ do: "open", name: file.name }, undefined, [bytes]);
  }
}

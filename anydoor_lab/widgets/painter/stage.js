// The picture with its mask on top and guiding lines over both, in a view that scrolls.
import { attributes, drawn, element } from "../elements.js";
import { shareAt, stageStyle, toPicture, zoomed } from "./geometry.js";

const HELP = "arrow keys move a cursor, space begins and ends a stroke, letters choose tools";

export class Stage {
  constructor() {
    this.size = [0, 0];
    this.zoom = 1;
    this.held = null; // where the picture was taken hold of, while it is moved
    this.picture = element("img", { draggable: false, alt: "" });
    this.canvas = element("canvas");
    const own = { tabindex: 0, role: "application", preserveAspectRatio: "none" };
    this.marks = drawn("g", { class: "ad-marks" });
    this.overlay = drawn("svg", own, this.marks, ...this.lines());
    const layers = [this.picture, this.canvas, this.overlay];
    this.layers = element("div", { className: "ad-stage" }, ...layers);
    this.empty = element("div", { className: "ad-empty" }, 
      "No picture yet: click an example, open, drop or paste one.");
    this.view = element("div", { className: "ad-view" }, this.layers, this.empty);
    this.sign = element("div", { className: "ad-sign", role: "status" });
    this.frame = element("div", { className: "ad-frame" }, this.view, this.sign);
  }

  // white lines, all but the brush's with black dashes on top
  lines() {
    const two = (tag) => [drawn(tag), drawn(tag, { class: "ad-dark" })];
    this.guides = {
      box: two("rect"),
      polygon: two("polyline"),
      brush: [drawn("circle")],
      cross: two("path"),
    };
    return Object.values(this.guides).flat();
  }

  guide(guides) {
    for (const [name, values] of Object.entries(guides)) {
      for (const line of this.guides[name]) attributes(line, values);
    }
  }

  // a picture of `size`; [0, 0] for none
  show(size, label) {
    this.size = size;
    this.layers.classList.toggle("ad-hidden", !size[0]);
    this.empty.classList.toggle("ad-hidden", Boolean(size[0]));
    const viewBox = `0 0 ${size.join(" ")}`;
    attributes(this.overlay, { viewBox, "aria-label": `${label}; ${HELP}` });
  }

  fit(zoom) {
    this.zoom = zoom;
    Object.assign(this.layers.style, stageStyle(zoom, this.size));
  }

  // zoom by a factor; what is under the pointer stays there, without one what is in the middle
  zoomBy(factor, pointer) {
    const { view } = this, area = view.getBoundingClientRect();
    const x = pointer ? pointer.clientX : area.left + area.width / 2;
    const y = pointer ? pointer.clientY : area.top + area.height / 2;
    const before = this.layers.getBoundingClientRect();
    const [across, down] = shareAt([x, y], before);
    this.fit(zoomed(this.zoom, factor));
    const after = this.layers.getBoundingClientRect();
    view.scrollLeft += after.left + across * after.width - x;
    view.scrollTop += after.top + down * after.height - y;
  }

  // the box and the clicks that a cut was asked for with
  mark(prompts) {
    const { box = null, clicks = [] } = prompts || {};
    const radius = Math.max(...this.size) / 50;
    const parts = clicks.map(([y, x, on]) => drawn("circle", {
      class: on ? "ad-on" : "ad-off", cx: x + 0.5, cy: y + 0.5, r: radius,
    }));
    if (box) {
      const [y, x, bottom, right] = box, width = right - x, height = bottom - y;
      parts.unshift(drawn("rect", { x, y, width, height }));
    }
    this.marks.replaceChildren(...parts);
  }

  // where an event is, in the picture's pixels
  at({ clientX, clientY }) {
    return toPicture([clientX, clientY], this.overlay.getBoundingClientRect(), this.size);
  }

  hold({ clientX, clientY }) {
    this.held = [clientX + this.view.scrollLeft, clientY + this.view.scrollTop];
  }

  drag({ clientX, clientY }) {
    this.view.scrollLeft = this.held[0] - clientX;
    this.view.scrollTop = this.held[1] - clientY;
  }
}

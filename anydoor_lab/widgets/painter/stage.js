// The picture with its mask on top and guiding lines over both, in a view that scrolls.
import { attributes, drawn, element } from "../elements.js";
import { middleOf, scrollTo, stageStyle, toPicture, zoomed } from "./geometry.js";

const HELP = "arrow keys move a cursor, space begins and ends a stroke, letters choose tools";

export class Stage {
  constructor() {
    this.size = [0, 0];
    this.zoom = 1;
    this.held = null; // where the picture was taken hold of, while it is moved
    this.picture = element("img", { draggable: false, alt: "" });
    this.canvas = element("canvas");
    const own = { tabindex: 0, role: "application", preserveAspectRatio: "none" };
    this.overlay = drawn("svg", own, ...this.lines());
    const layers = [this.picture, this.canvas, this.overlay];
    this.layers = element("div", { className: "ad-stage" }, ...layers);
    this.empty = element("div", { className: "ad-empty" }, "No picture yet: open one.");
    this.view = element("div", { className: "ad-view" }, this.layers, this.empty);
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

  // zoom by a factor; what is in the middle stays there
  zoomBy(factor) {
    const [across, down] = this.axes().map(middleOf);
    this.fit(zoomed(this.zoom, factor));
    const [x, y] = this.axes();
    this.view.scrollLeft = scrollTo(across, x);
    this.view.scrollTop = scrollTo(down, y);
  }

  axes() {
    const { view } = this;
    return [
      { scroll: view.scrollLeft, seen: view.clientWidth, whole: view.scrollWidth },
      { scroll: view.scrollTop, seen: view.clientHeight, whole: view.scrollHeight },
    ];
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

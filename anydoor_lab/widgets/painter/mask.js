// The mask: a canvas of the picture's own pixels, whose alpha is what is marked.
import { replacesAll } from "./history.js";

const LINES = ["brush", "erase", "polygon"];

export class Mask {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
  }

  resize([width, height]) {
    this.canvas.width = width;
    this.canvas.height = height;
  }

  show(steps) {
    this.clear();
    steps.forEach((step) => this.paint(step));
  }

  paint(step) {
    const { context } = this;
    context.globalCompositeOperation = step.kind === "erase" ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = "#0072b2";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = step.size;
    if (replacesAll(step)) this.clear();
    if (step.kind === "box") context.fillRect(...step.rect);
    if (step.kind === "mask" && step.bitmap) this.stamp(step.bitmap);
    if (LINES.includes(step.kind)) this.trace(step);
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // a mask of Python's, in the colour of what is drawn here
  stamp(bitmap) {
    this.context.drawImage(bitmap, 0, 0);
    this.context.globalCompositeOperation = "source-in";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  trace({ kind, points }) {
    const { context } = this;
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    if (kind === "polygon") context.fill();
    else context.stroke();
  }

  png() {
    return new Promise((ready) => this.canvas.toBlob(ready, "image/png"));
  }
}

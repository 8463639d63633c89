// What a pointer or the keyboard draws. Pure: each method changes the pen and returns an order
// for whoever holds the canvas, empty where there is nothing to do:
//   paint    a piece of a stroke, to be seen at once
//   keep     a stroke whose pieces were painted, now finished: one step
//   apply    a step that is not painted yet
//   prompt   a cut to ask for: { box: [y1, x1, y2, x2] or null, clicks: [[y, x, 1 or 0], ...] }
//   repaint  an abandoned stroke has to go
import { closes, cornersOf, isBox, pixelAt, rectangle } from "./geometry.js";

export class Pen {
  constructor(tool, prompting = false) {
    this.tool = tool;
    this.prompting = prompting; // a box asks for a cut instead of marking its inside
    this.picture = [0, 0];
    this.size = 8;
    this.stroke = null;
    this.corners = []; // of an unfinished polygon
    this.cursor = null;
    this.keyed = false; // whether the keyboard moved the cursor
  }

  point(cursor, keyed = false) {
    this.cursor = cursor;
    this.keyed = keyed;
  }

  // `prompts`: what the mask that is shown was asked for with
  begin(point, prompts) {
    if (this.tool === "object" || this.tool === "ground") return this.click(point, prompts);
    if (this.tool === "polygon") return this.corner(point);
    this.stroke = { kind: this.tool, size: this.size, points: [point] };
    return this.tool === "box" ? {} : { paint: this.stroke };
  }

  extend(point) {
    if (!this.stroke) return {};
    const last = this.stroke.points.at(-1);
    this.stroke.points.push(point);
    return this.stroke.kind === "box" ? {} : { paint: { ...this.stroke, points: [last, point] } };
  }

  finish() {
    const stroke = this.stroke;
    this.stroke = null;
    if (!stroke) return {};
    if (stroke.kind !== "box") return { keep: stroke };
    const rect = boxOf(stroke);
    if (!isBox(rect)) return {};
    if (this.prompting) return { prompt: { box: cornersOf(rect), clicks: [] } };
    return { apply: { kind: "box", rect } };
  }

  abandon() {
    const painted = this.stroke && this.stroke.kind !== "box";
    this.stroke = null;
    this.corners = [];
    return painted ? { repaint: true } : {};
  }

  corner(point) {
    if (closes(this.corners, point, this.picture)) return this.closePolygon();
    this.corners.push(point);
    return {};
  }

  closePolygon() {
    const points = this.corners;
    this.corners = [];
    return points.length > 2 ? { apply: { kind: "polygon", points } } : {};
  }

  // one click more than the mask that is shown was asked for with
  click(point, prompts) {
    const { box = null, clicks = [] } = prompts || {};
    const click = [...pixelAt(point, this.picture), this.tool === "object" ? 1 : 0];
    return { prompt: { box, clicks: [...clicks, click] } };
  }

  // the lines that guide the eye, as attributes of SVG: box, polygon, brush and keyboard's cursor
  guides() {
    const [x, y, width, height] = this.stroke?.kind === "box" ? boxOf(this.stroke) : [0, 0, 0, 0];
    const corners = this.corners.length && this.cursor ? [this.cursor] : [];
    const brushing = this.cursor && (this.tool === "brush" || this.tool === "erase");
    const [cx, cy] = this.cursor || [0, 0];
    const arm = this.picture[0] / 40;
    const cross = `M${cx - arm} ${cy}h${2 * arm}M${cx} ${cy - arm}v${2 * arm}`;
    return {
      box: { x, y, width, height, visibility: width ? "visible" : "hidden" },
      polygon: { points: this.corners.concat(corners).join(" ") },
      brush: { r: brushing ? this.size / 2 : 0, cx, cy },
      cross: { d: this.cursor && this.keyed ? cross : "" },
    };
  }
}

const boxOf = ({ points }) => rectangle(points[0], points.at(-1));

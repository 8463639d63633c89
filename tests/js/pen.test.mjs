import assert from "node:assert/strict";
import test from "node:test";

import { Pen } from "../../anydoor_lab/widgets/painter/pen.js";

function pen(tool, prompting = false) {
  const made = new Pen(tool, prompting);
  made.picture = [140, 90];
  return made;
}

// the orders that a drag over these points gives
function dragged(made, ...points) {
  const [first, ...others] = points;
  return [made.begin(first), ...others.map((point) => made.extend(point)), made.finish()];
}

test("a dragged box is one step, and nothing is painted on the way", () => {
  const made = pen("box");
  const orders = dragged(made, [96.8, 60.8], [50, 40], [30.2, 20.2]);
  assert.deepEqual(orders.slice(0, -1), [{}, {}, {}]);
  assert.deepEqual(orders.at(-1), { apply: { kind: "box", rect: [30, 20, 67, 41] } });
  assert.equal(made.stroke, null);
});

test("while a box is dragged its rim follows the last point", () => {
  const made = pen("box");
  assert.equal(made.guides().box.visibility, "hidden");
  made.begin([10, 10]);
  made.extend([80, 70]);
  made.extend([30.5, 40]);
  const shown = { x: 10, y: 10, width: 21, height: 30, visibility: "visible" };
  assert.deepEqual(made.guides().box, shown);
  made.finish();
  assert.equal(made.guides().box.visibility, "hidden");
});

test("a click with the box tool orders nothing", () => {
  assert.deepEqual(dragged(pen("box"), [5, 5], [5.5, 5.5]).at(-1), {});
});

test("a box asks for a cut where boxes cut, in Python's order of corners", () => {
  const order = dragged(pen("box", true), [30, 20], [97, 61]).at(-1);
  assert.deepEqual(order, { prompt: { box: [20, 30, 61, 97], clicks: [] } });
});

for (const tool of ["brush", "erase"]) {
  test(`a stroke of the ${tool} is painted piece by piece and kept whole, as one step`, () => {
    const made = pen(tool), points = [[1, 1], [5, 2], [9, 9]];
    made.size = 7;
    const orders = dragged(made, ...points);
    const { keep } = orders.pop();
    assert.deepEqual(keep, { kind: tool, size: 7, points });
    const pieces = orders.slice(1).map(({ paint }) => paint.points);
    assert.deepEqual(pieces, [[[1, 1], [5, 2]], [[5, 2], [9, 9]]]);
    assert.ok(orders.every(({ paint }) => paint.kind === tool && paint.size === 7));
  });
}

test("a stroke keeps the size it began with", () => {
  const made = pen("brush");
  made.begin([1, 1]);
  made.size = 30;
  assert.equal(made.extend([2, 2]).paint.size, 8);
  assert.equal(made.finish().keep.size, 8);
});

test("an abandoned stroke is taken off the picture, an abandoned box was never on it", () => {
  const brush = pen("brush"), box = pen("box");
  brush.begin([1, 1]);
  box.begin([1, 1]);
  assert.deepEqual(brush.abandon(), { repaint: true });
  assert.deepEqual(box.abandon(), {});
  assert.deepEqual(brush.abandon(), {});
  assert.deepEqual(brush.finish(), {});
  assert.deepEqual(brush.extend([2, 2]), {});
});

test("a polygon closes on its first corner, by name, or not at all below three corners", () => {
  const corners = [[10, 10], [60, 10], [60, 50]], made = pen("polygon");
  const triangle = { apply: { kind: "polygon", points: corners } };
  corners.forEach((corner) => assert.deepEqual(made.begin(corner), {}));
  assert.deepEqual(made.begin([11, 10]), triangle);
  assert.deepEqual(made.corners, []);
  corners.forEach((corner) => made.begin(corner));
  assert.deepEqual(made.closePolygon(), triangle);
  made.begin([10, 10]);
  made.begin([60, 10]);
  assert.deepEqual(made.closePolygon(), {});
  assert.deepEqual(made.corners, []);
});

test("an unfinished polygon is drawn up to the cursor, and Escape forgets it", () => {
  const made = pen("polygon");
  made.point([20, 30]);
  assert.equal(made.guides().polygon.points, "");
  made.begin([10, 10]);
  assert.equal(made.guides().polygon.points, "10,10 20,30");
  made.point(null);
  assert.equal(made.guides().polygon.points, "10,10");
  made.abandon();
  assert.equal(made.guides().polygon.points, "");
});

test("each click asks again, with the box and the clicks that the mask came from", () => {
  const made = pen("object");
  const first = made.begin([12.7, 30.2], undefined).prompt;
  assert.deepEqual(first, { box: null, clicks: [[30, 12, 1]] });
  made.tool = "ground";
  const second = made.begin([140, 90], { ...first, box: [1, 2, 50, 60] }).prompt;
  assert.deepEqual(second, { box: [1, 2, 50, 60], clicks: [[30, 12, 1], [89, 139, 0]] });
  assert.deepEqual(first.clicks, [[30, 12, 1]]);
});

test("the brush is shown by its own size, the keyboard's cursor by a cross", () => {
  const made = pen("brush");
  assert.deepEqual(made.guides().brush, { r: 0, cx: 0, cy: 0 });
  made.point([70, 45]);
  assert.deepEqual(made.guides().brush, { r: 4, cx: 70, cy: 45 });
  assert.equal(made.guides().cross.d, "");
  made.point([70, 45], true);
  assert.equal(made.guides().cross.d, "M66.5 45h7M70 41.5v7");
  made.tool = "box";
  assert.equal(made.guides().brush.r, 0);
});

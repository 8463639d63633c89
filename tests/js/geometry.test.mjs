import assert from "node:assert/strict";
import test from "node:test";

import {
  MOST_ZOOM, brushSizes, closes, cornersOf, isBox, moved, pixelAt, rectangle, shareAt, stageStyle,
  toPicture, zoomed,
} from "../../anydoor_lab/widgets/painter/geometry.js";

const SIZE = [140, 90];
const BOUNDS = { left: 20, top: 300, width: 280, height: 180 }; // shown twice as large

test("a point of the screen is found in the picture's own pixels", () => {
  assert.deepEqual(toPicture([20, 300], BOUNDS, SIZE), [0, 0]);
  assert.deepEqual(toPicture([160, 390], BOUNDS, SIZE), [70, 45]);
  assert.deepEqual(toPicture([300, 480], BOUNDS, SIZE), [140, 90]);
});

test("a point beside the picture is the nearest of its edge", () => {
  assert.deepEqual(toPicture([-500, 390], BOUNDS, SIZE), [0, 45]);
  assert.deepEqual(toPicture([160, 9999], BOUNDS, SIZE), [70, 90]);
});

test("the pixel at the far edge is the last one", () => {
  assert.deepEqual(pixelAt([12.9, 7.1], SIZE), [7, 12]);
  assert.deepEqual(pixelAt([140, 90], SIZE), [89, 139]);
});

test("a box holds each pixel it touches, whichever corner it began at", () => {
  const [a, b] = [[30.2, 20.2], [96.8, 60.8]];
  for (const [from, to] of [[a, b], [b, a], [[a[0], b[1]], [b[0], a[1]]]]) {
    assert.deepEqual(rectangle(from, to), [30, 20, 67, 41]);
  }
  assert.deepEqual(cornersOf([30, 20, 67, 41]), [20, 30, 61, 97]);
});

test("a click with the box tool is no box", () => {
  assert.equal(isBox(rectangle([5.2, 5.2], [5.2, 5.2])), false);
  assert.equal(isBox(rectangle([5.2, 5.2], [40, 5.9])), false);
  assert.equal(isBox(rectangle([5.2, 5.2], [6.5, 6.5])), true);
});

test("a polygon closes near its first corner, once it has three", () => {
  const corners = [[10, 10], [50, 10], [50, 40]];
  assert.equal(closes(corners, [11, 11], SIZE), true);
  assert.equal(closes(corners, [13, 13], SIZE), false);
  assert.equal(closes(corners.slice(0, 2), [10, 10], SIZE), false);
});

test("the keyboard's cursor starts in the middle, steps whole pixels and stays inside", () => {
  assert.deepEqual(moved(null, [0, 0], false, SIZE), [70, 45]);
  assert.deepEqual(moved([10.4, 10.4], [1, 0], false, SIZE), [11, 10]);
  assert.deepEqual(moved([10, 10], [0, 1], true, SIZE), [10, 20]);
  assert.deepEqual(moved([1, 89], [-1, 0], true, SIZE), [0, 89]);
  assert.deepEqual(moved([1000, 500], [1, 0], true, [2000, 1000]), [1100, 500]);
});

test("zoom stays between the whole picture and its most", () => {
  assert.equal(zoomed(1, 1 / 1.5), 1);
  assert.equal(zoomed(2, 1.5), 3);
  assert.equal(zoomed(10, 1.5), MOST_ZOOM);
  assert.equal(zoomed(7, 0), 1);
});

test("where a point of the screen is in a picture is a share of its sides, inside it", () => {
  assert.deepEqual(shareAt([90, 345], BOUNDS), [0.25, 0.25]);
  assert.deepEqual(shareAt([-9, 9999], BOUNDS), [0, 1]);
});

test("a picture is as wide as its view, but at most --tall high, times the zoom", () => {
  assert.deepEqual(stageStyle(1.5, [200, 100]), {
    width: "calc(1.5 * min(100%, var(--tall, 440px) * 2.0000))", aspectRatio: "200 / 100",
  });
});

test("a brush fits its picture, also a tiny one", () => {
  assert.deepEqual(brushSizes([900, 600]), { largest: 200, first: 43 });
  assert.deepEqual(brushSizes([2, 2]), { largest: 4, first: 2 });
});

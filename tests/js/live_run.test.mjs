import assert from "node:assert/strict";
import test from "node:test";

import { laidOut, logTicks, short, ticks } from "../../anydoor_lab/widgets/live_run/chart.js";

const FRAME = { left: 50, right: 450, top: 10, bottom: 210 };

test("ticks are round, inside the axis, and a handful", () => {
  assert.deepEqual(ticks(0, 100), [0, 50, 100]);
  assert.deepEqual(ticks(0, 8), [0, 2, 4, 6, 8]);
  for (const [low, high] of [[0, 1], [3, 1234], [32, 6400], [0.001, 0.0042], [7, 8]]) {
    const found = ticks(low, high);
    assert.ok(found.length >= 2 && found.length <= 6, `${low} to ${high}: ${found}`);
    assert.ok(found.every((one) => one >= low && one <= high * (1 + 1e-9)));
  }
});

test("a logarithmic axis has 1, 2 and 5 of each power, a narrow one ordinary ticks", () => {
  assert.deepEqual(logTicks(0.9, 25), [1, 2, 5, 10, 20]);
  assert.deepEqual(logTicks(0.31, 0.33), ticks(0.31, 0.33));
});

test("labels are short", () => {
  assert.equal(short(0.30000000000000004), "0.3");
  assert.equal(short(1234), "1230");
  assert.equal(short(64000), "64k");
});

test("points lie between the edges of the frame, larger values higher", () => {
  const series = { loss: [[8, 1], [16, 0.1], [24, 0.01]] };
  const [[name, points]] = laidOut(series, true, FRAME).lines;
  assert.equal(name, "loss");
  assert.deepEqual(points.map(([x]) => x), [50, 250, 450]);
  assert.deepEqual(points.map(([, y]) => Math.round(y)), [10, 110, 210]);
});

test("rows and columns are labelled where their values lie", () => {
  const { rows, columns } = laidOut({ speed: [[0, 0], [100, 8]] }, false, FRAME);
  assert.deepEqual(rows.map(([, label]) => label), ["0", "2", "4", "6", "8"]);
  assert.deepEqual(rows.map(([at]) => at), [210, 160, 110, 60, 10]);
  assert.deepEqual(columns, [[50, "0"], [250, "50"], [450, "100"]]);
});

test("what a logarithm cannot show is left out, and nothing at all is no chart", () => {
  const { lines } = laidOut({ a: [[1, 0], [2, 4]], b: [[1, -1]] }, true, FRAME);
  assert.deepEqual(lines.map(([name, points]) => [name, points.length]), [["a", 1]]);
  for (const empty of [undefined, {}, { a: [] }, { a: [[1, 0]] }]) {
    assert.equal(laidOut(empty, true, FRAME), null);
  }
});

test("a single point and a flat curve are laid out, too", () => {
  for (const points of [[[8, 0.5]], [[8, 0.5], [16, 0.5]]]) {
    for (const [x, y] of laidOut({ a: points }, true, FRAME).lines[0][1]) {
      assert.ok(Number.isFinite(x) && Number.isFinite(y));
    }
  }
});

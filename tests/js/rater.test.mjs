// Where keys lead a rater.
import assert from "node:assert/strict";
import { test } from "node:test";
import { arrow, open } from "../../anydoor_lab/widgets/rater/slots.js";

test("arrows stay among places and criteria", () => {
  assert.deepEqual(arrow([0, 0], "ArrowRight", 3, 2), [1, 0]);
  assert.deepEqual(arrow([2, 1], "ArrowRight", 3, 2), [2, 1]);
  assert.deepEqual(arrow([1, 1], "ArrowUp", 3, 2), [1, 0]);
  assert.equal(arrow([1, 1], "3", 3, 2), null);
});

test("the next open rating is beside, then in the next criterion, then one left out before", () => {
  assert.deepEqual(open([[4, 0], [0, 0]], [0, 0]), [1, 0]);
  assert.deepEqual(open([[4, 0], [2, 0]], [1, 0]), [0, 1]);
  assert.deepEqual(open([[0, 1], [2, 3]], [1, 1]), [0, 0]);
  assert.equal(open([[1, 1], [2, 3]], [1, 1]), null);
});

import assert from "node:assert/strict";
import test from "node:test";

import { comparedWidth, typedNumber } from "../../anydoor_lab/widgets/teleporter/panel.js";

test("a typed number stays in its range, and what is no number is the least", () => {
  assert.equal(typedNumber("steps", "1000", [1, 100]), 100);
  assert.equal(typedNumber("steps", "-3", [1, 100]), 1);
  assert.equal(typedNumber("steps", "", [1, 100]), 1);
  assert.equal(typedNumber("seed", "many", [0, 9]), 0);
});

test("guidance may be a fraction, counts are whole", () => {
  assert.equal(typedNumber("guidance", "2.5", [1, 10]), 2.5);
  assert.equal(typedNumber("proposals", "2.4", [1, 8]), 2);
});

test("a tall picture is still wide enough to slide over", () => {
  assert.equal(comparedWidth(920, 460), 920);
  assert.equal(comparedWidth(100, 1000), 380);
});

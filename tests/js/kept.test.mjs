import assert from "node:assert/strict";
import test from "node:test";

import { left, nameOf } from "../../anydoor_lab/widgets/painter/kept.js";

const bytes = (...values) => new DataView(new Uint8Array(values).buffer);

test("a widget is known again by its label and its first picture", () => {
  const name = nameOf("Scene", bytes(1, 2, 3));
  assert.equal(nameOf("Scene", bytes(1, 2, 3)), name);
  assert.notEqual(nameOf("Scene", bytes(1, 3, 2)), name);
  assert.notEqual(nameOf("Other", bytes(1, 2, 3)), name);
  assert.notEqual(nameOf("Scene"), name);
});

test("only a drawing of another kernel is brought back", () => {
  const drawings = new Map([["a", { session: "before", mask: 1 }]]);
  assert.equal(left(drawings, "a", "before"), null);
  assert.equal(left(drawings, "b", "now"), null);
  assert.equal(left(drawings, "a", "now").mask, 1);
});

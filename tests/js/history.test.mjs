import assert from "node:assert/strict";
import test from "node:test";

import { History, replacesAll } from "../../anydoor_lab/widgets/painter/history.js";

// the pixels that steps leave marked; each step carries its own in `pixels`
function marked(steps) {
  const pixels = new Set();
  for (const step of steps) {
    if (replacesAll(step)) pixels.clear();
    for (const pixel of step.pixels) pixels[step.kind === "erase" ? "delete" : "add"](pixel);
  }
  return [...pixels].sort((a, b) => a - b);
}

// steps by a small congruential generator: the same in each run
function* steps(seed) {
  const kinds = ["brush", "erase", "box", "polygon", "mask", "clear", "brush", "brush"];
  const next = () => { seed = (seed * 1103515245 + 12345) % 2 ** 31; return seed >> 8; };
  for (;;) {
    const kind = kinds[next() % kinds.length];
    yield { kind, pixels: kind === "clear" ? [] : [next() % 9, next() % 9, next() % 9] };
  }
}

test("the steps that are shown leave what all steps leave", () => {
  for (let seed = 0; seed < 50; seed += 1) {
    const history = new History(), all = steps(seed);
    for (let k = 0; k < 20; k += 1) {
      history.add(all.next().value);
      assert.deepEqual(marked(history.shown), marked(history.done));
    }
  }
});

test("undo goes back over every state, redo forth again", () => {
  const history = new History(), all = steps(7), states = [marked([])];
  for (let k = 0; k < 30; k += 1) {
    history.add(all.next().value);
    states.push(marked(history.shown));
  }
  for (let k = 29; k >= 0; k -= 1) {
    assert.equal(history.undo(), true);
    assert.deepEqual(marked(history.shown), states[k]);
  }
  assert.equal(history.undo(), false);
  for (let k = 1; k <= 30; k += 1) {
    assert.equal(history.redo(), true);
    assert.deepEqual(marked(history.shown), states[k]);
  }
  assert.equal(history.redo(), false);
});

test("what was undone cannot come back after a new step", () => {
  const history = new History();
  history.add({ kind: "box" });
  history.add({ kind: "brush" });
  history.undo();
  history.add({ kind: "erase" });
  assert.equal(history.redo(), false);
  assert.deepEqual(history.done.map(({ kind }) => kind), ["box", "erase"]);
});

test("nothing before a box, a mask or a clearing is painted again", () => {
  const history = new History();
  for (const kind of ["brush", "box", "brush", "mask", "polygon", "erase"]) history.add({ kind });
  assert.deepEqual(history.shown.map(({ kind }) => kind), ["mask", "polygon", "erase"]);
  history.add({ kind: "clear" });
  assert.deepEqual(history.shown.map(({ kind }) => kind), ["clear"]);
});

test("another picture begins without a past", () => {
  const history = new History();
  assert.equal(history.last, undefined);
  history.add({ kind: "box" });
  history.undo();
  history.forget();
  assert.equal(history.undo() || history.redo(), false);
  assert.deepEqual(history.shown, []);
});

test("undo leaves the mask that a picture came with", () => {
  const history = new History();
  history.add({ kind: "box" });
  history.begin({ kind: "mask" });
  assert.equal(history.canUndo || history.undo(), false);
  history.add({ kind: "brush" });
  assert.equal(history.canUndo && history.undo(), true);
  assert.deepEqual(history.shown.map(({ kind }) => kind), ["mask"]);
  assert.equal(history.undo(), false);
  assert.equal(history.redo(), true);
});

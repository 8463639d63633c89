import assert from "node:assert/strict";
import test from "node:test";

import { neighbour, tooLarge, track, underway } from "../../anydoor_lab/widgets/elements.js";
import { slid } from "../../anydoor_lab/widgets/teleporter/result.js";
import { typedNumber } from "../../anydoor_lab/widgets/teleporter/settings.js";

test("a typed number stays in its range, and the sentence says what became of it", () => {
  const { value, said } = typedNumber("steps", "1000", [1, 100], 20);
  assert.equal(value, 100);
  assert.equal(said, "Steps goes from 1 to 100: 1000 became 100.");
  assert.equal(typedNumber("seed", "-5", [0, 9], 3).value, 0);
  assert.match(typedNumber("proposals", "12", [1, 8], 2).said, /12 became 8/);
});

test("what is no number changes nothing, and is told", () => {
  for (const typed of ["", " ", "abc"]) {
    const expected = { value: 3, said: "Seed needs a number; it stays 3." };
    assert.deepEqual(typedNumber("seed", typed, [0, 9], 3), expected);
  }
});

test("guidance may be a fraction, counts are whole, and a fitting number needs no word", () => {
  assert.deepEqual(typedNumber("guidance", "2.5", [1, 10], 2), { value: 2.5, said: "" });
  assert.deepEqual(typedNumber("proposals", "3", [1, 8], 2), { value: 3, said: "" });
  const { value, said } = typedNumber("proposals", "2.4", [1, 8], 1);
  assert.equal(value, 2);
  assert.equal(said, "Proposals is whole: 2.4 became 2.");
});

test("keys move the handle inside its picture", () => {
  assert.equal(slid(0, "ArrowLeft"), 0);
  assert.equal(slid(50, "ArrowRight"), 55);
  assert.equal(slid(50, "End"), 100);
  assert.equal(slid(50, "Home"), 0);
  assert.equal(slid(50, "Tab"), null);
});

test("arrow keys go round a group, Home and End to its ends", () => {
  assert.equal(neighbour("ArrowRight", 3, 4), 0);
  assert.equal(neighbour("ArrowUp", 0, 4), 3);
  assert.equal(neighbour("End", 1, 4), 3);
  assert.equal(neighbour("Home", 2, 4), 0);
  assert.equal(neighbour("Enter", 2, 4), null);
});

test("a file that is too large is named with its size and the limit", () => {
  assert.equal(tooLarge({ name: "a.png", size: 200_000_000 }), "");
  const said = tooLarge({ name: "a.png", size: 230_000_000 });
  assert.match(said, /^a\.png has 230 MB; at most 200 MB/);
});

test("a stroke is under way until it has arrived", async () => {
  let arrive;
  track(new Promise((ready) => { arrive = ready; }));
  assert.equal(underway().size, 1);
  arrive();
  await Promise.allSettled(underway());
  await new Promise((later) => { setTimeout(later, 0); });
  assert.equal(underway().size, 0);
});

// The board's look and keys, and the page that is saved of it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MODES } from "../../anydoor_lab/widgets/board/controls.js";
import { WHOLE, moved, nearer, stepped } from "../../anydoor_lab/widgets/board/look.js";
import { still } from "../../anydoor_lab/widgets/board/page.js";

test("what is under the pointer stays there while zooming", () => {
  const near = nearer(WHOLE, 2, 25, 75);
  assert.equal(near.zoom, 2);
  const under = (look, at) => [(at[0] - look.x) / look.zoom, (at[1] - look.y) / look.zoom];
  assert.deepEqual(under(near, [25, 75]), under(WHOLE, [25, 75]));
});

test("a picture fills its frame however it is zoomed and moved", () => {
  assert.deepEqual(nearer(nearer(WHOLE, 3, 90, 10), 0.1, 0, 0), WHOLE);
  const { zoom, x, y } = moved(nearer(WHOLE, 2), 500, -500);
  assert.ok(x <= 0 && x >= 100 * (1 - zoom) && y === 100 * (1 - zoom) && x === 0);
  assert.equal(nearer(WHOLE, 1000).zoom, 12);
});

test("arrows stay inside the board, other keys lead nowhere", () => {
  assert.equal(stepped(0, "ArrowRight", 2, 3), 1);
  assert.equal(stepped(2, "ArrowRight", 2, 3), 2);
  assert.equal(stepped(2, "ArrowDown", 2, 3), 5);
  assert.equal(stepped(0, "ArrowUp", 2, 3), 0);
  assert.equal(stepped(4, "End", 2, 3), 5);
  assert.equal(stepped(4, "Home", 2, 3), 3);
  assert.equal(stepped(4, "x", 2, 3), null);
});

test("each way of looking has a key of its own", () => {
  assert.equal(new Set(MODES.map(([, , key]) => key)).size, MODES.length);
});

test("a saved page's model hands its pictures out when they are wanted", () => {
  const pictures = { "cell:0": btoa("a"), "large:1": btoa("b") };
  const model = still({ traits: { mode: "result" }, pictures });
  const told = [];
  model.on("msg:custom", ({ key }, [bytes]) => told.push([key, ...bytes]));
  model.on("change:mode", () => told.push([model.get("mode")]));
  model.send({ do: "want", cells: [1], large: true });
  model.set("mode", "before");
  assert.deepEqual(told, [["large:1", 98], ["before"]]);
  assert.equal(model.get("mode"), "before");
});

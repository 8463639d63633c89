import assert from "node:assert/strict";
import test from "node:test";

import { TOOLS, commandOf, hintOf } from "../../anydoor_lab/widgets/painter/commands.js";

const ALL = Object.keys(TOOLS);
const pressed = (key, held = {}, tools = ALL) => commandOf({ key, ...held }, tools);

test("each tool has a key of its own, in small and capital letters", () => {
  for (const name of ALL) {
    const [, key] = TOOLS[name];
    assert.deepEqual(pressed(key), ["choose", name]);
    assert.deepEqual(pressed(key.toUpperCase()), ["choose", name]);
  }
});

test("the key of a tool that a widget lacks does nothing", () => {
  assert.equal(pressed("o", {}, ["box", "brush"]), null);
});

test("Ctrl and Cmd undo and redo, and leave other keys to the browser", () => {
  for (const held of [{ ctrlKey: true }, { metaKey: true }]) {
    assert.deepEqual(pressed("z", held), ["undo"]);
    assert.deepEqual(pressed("Z", { ...held, shiftKey: true }), ["redo"]);
    assert.deepEqual(pressed("y", held), ["redo"]);
    for (const key of ["b", "c", "Delete", "+"]) assert.equal(pressed(key, held), null);
  }
});

test("arrows move the cursor, with Shift far", () => {
  assert.deepEqual(pressed("ArrowLeft"), ["moveCursor", [-1, 0], false]);
  assert.deepEqual(pressed("ArrowDown", { shiftKey: true }), ["moveCursor", [0, 1], true]);
});

test("keys zoom, resize the brush, and begin, close, abandon and clear", () => {
  assert.deepEqual(pressed("0"), ["zoom", 0]);
  assert.deepEqual(pressed("]"), ["resize", 1.3]);
  const named = { " ": "stroke", Enter: "enter", Escape: "abandon", Delete: "clear" };
  for (const [key, command] of Object.entries(named)) assert.deepEqual(pressed(key), [command]);
  assert.equal(pressed("+")[1] * pressed("-")[1], 1);
});

test("keys without a meaning stay the browser's", () => {
  for (const key of ["Tab", "F5", "x", "Shift"]) assert.equal(pressed(key), null);
});

test("only a box that cuts is told as one that cuts", () => {
  assert.match(hintOf("box", true), /cut it out/);
  assert.equal(hintOf("box", false), TOOLS.box[2]);
  assert.equal(hintOf("brush", true), TOOLS.brush[2]);
});

import assert from "node:assert/strict";
import test from "node:test";

import { kept, left, ownName } from "../../anydoor_lab/widgets/elements.js";
import { nameOf } from "../../anydoor_lab/widgets/painter/kept.js";
import { CHOICES, NUMBERS, keepSettings } from "../../anydoor_lab/widgets/teleporter/settings.js";

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

// a model as anywidget gives it, of a kernel's session, with every setting at `value`
function panel(session, value, name = "settings 1") {
  const names = [...Object.keys(NUMBERS), ...Object.keys(CHOICES)], handlers = new Map();
  const state = { _name: name, _session: session, message: "" };
  names.forEach((own) => { state[own] = value; });
  return {
    state,
    get: (own) => state[own],
    set(own, to) {
      state[own] = to;
      (handlers.get(own) || []).forEach((handler) => handler());
    },
    on: (event, handler) => {
      const own = event.replace("change:", "");
      handlers.set(own, [...(handlers.get(own) || []), handler]);
    },
    save_changes() { state.saved = true; },
  };
}

test("settings of a kernel that went away come back to the same cell, and it is said", () => {
  kept().clear();
  const before = panel("before", 2);
  const free = keepSettings(before);
  before.set("steps", 7);
  free();
  const again = panel("after", 2);
  keepSettings(again);
  assert.equal(again.state.steps, 7);
  assert.equal(again.state.guidance, 2);
  assert.match(again.state.message, /are back\.$/);
  assert.ok(again.state.saved);
  const changed = panel("after", 2, "settings 2"); // another code gives another name
  keepSettings(changed);
  assert.equal(changed.state.steps, 2);
  const second = panel("after", 2); // a second view of the same kernel's widget
  keepSettings(second);
  assert.equal(second.state.message, "");
});

test("views over one picture have names of their own, and a freed one is taken again", () => {
  const [first, free] = ownName("Scene 1"), [second] = ownName("Scene 1");
  assert.notEqual(first, second);
  free();
  assert.equal(ownName("Scene 1")[0], first);
  assert.notEqual(ownName("Scene 2")[0], first);
});

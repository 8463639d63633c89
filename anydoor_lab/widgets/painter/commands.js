// The tools, and what a pressed key asks for. Pure.
// name of a tool: its button, its key, what it does
export const TOOLS = {
  box: ["Box", "b", "Drag a box; it replaces what is marked"],
  brush: ["Brush", "p", "Paint over what belongs to it"],
  erase: ["Eraser", "e", "Paint over what does not belong to it"],
  polygon: ["Polygon", "g", "Click corners; double click, Enter or the first corner closes it"],
  object: ["+ Object", "o", "Click on the object"],
  ground: ["− Background", "k", "Click on what is not the object"],
  pan: ["Move", "m", "Drag to move a zoomed picture"],
};

export const ZOOM_STEP = 1.5;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = {
  " ": ["stroke"],
  Enter: ["enter"],
  Escape: ["abandon"],
  Delete: ["clear"],
  "+": ["zoom", ZOOM_STEP],
  "-": ["zoom", 1 / ZOOM_STEP],
  0: ["zoom", 0],
  "[": ["resize", 0.8],
  "]": ["resize", 1.3],
};

// a key press as a command of the painter and its arguments; null where it means nothing
export function commandOf({ key, ctrlKey, metaKey, shiftKey }, tools) {
  const lower = key.toLowerCase();
  if (ctrlKey || metaKey) {
    if (lower === "z") return [shiftKey ? "redo" : "undo"];
    return lower === "y" ? ["redo"] : null;
  }
  if (ARROWS[key]) return ["moveCursor", ARROWS[key], Boolean(shiftKey)];
  if (KEYS[key]) return KEYS[key];
  const chosen = tools.find((name) => TOOLS[name][1] === lower);
  return chosen ? ["choose", chosen] : null;
}

// what to tell about a tool; where boxes ask for a cut, they do not replace anything
export function hintOf(tool, prompting) {
  const cutting = prompting && tool === "box";
  return cutting ? "Drag a box around the object to cut it out" : TOOLS[tool][2];
}

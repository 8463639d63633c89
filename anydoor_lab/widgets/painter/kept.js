// What was drawn, kept by the page for as long as it is open: a kernel may go away before it.
const PLACE = Symbol.for("anydoor_lab drawings");

// label and first picture say which widget a drawing belongs to, whatever kernel is behind it
export function nameOf(label, bytes) {
  let sum = 2166136261;
  for (let k = 0; bytes && k < bytes.byteLength; k += 1) {
    sum = Math.imul(sum ^ bytes.getUint8(k), 16777619) >>> 0;
  }
  return `${label} ${bytes ? bytes.byteLength : 0} ${sum}`;
}

// the drawing of another kernel's widget of this name; null where none was made
export function left(drawings, name, session) {
  const drawing = drawings.get(name);
  return drawing && drawing.session !== session ? drawing : null;
}

export const drawings = () => {
  globalThis[PLACE] = globalThis[PLACE] || new Map();
  return globalThis[PLACE];
};

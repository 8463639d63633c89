// What was drawn, kept by the page: a kernel may go away before it.
import { kept, left, ownName } from "../elements.js";

// label and first picture say which widget a drawing belongs to, whatever kernel is behind it
export function nameOf(label, bytes) {
  let sum = 2166136261;
  for (let k = 0; bytes && k < bytes.byteLength; k += 1) {
    sum = Math.imul(sum ^ bytes.getUint8(k), 16777619) >>> 0;
  }
  return `${label} ${bytes ? bytes.byteLength : 0} ${sum}`;
}

export async function keep(painter, blob = null) {
  const mask = blob || await painter.mask.png(), { came, model, name, shown } = painter;
  kept().set(name, { session: model.get("_session"), mask, came, shown });
}

// the name of a painter, by its first picture; of several over one picture each has its own
export function claim(painter) {
  if (painter.name) return;
  const { model } = painter;
  const name = nameOf(model.get("label"), model.get("_picture"));
  [painter.name, painter.free] = ownName(name);
}

// whether something came back that was drawn while another kernel was behind this painter
export async function restore(painter) {
  const { model } = painter;
  const drawing = left(kept(), painter.name, model.get("_session"));
  if (!drawing) return false;
  if (drawing.shown !== painter.shown) return !painter.came && bring(painter, drawing.came);
  const bitmap = drawing.mask && await createImageBitmap(drawing.mask);
  if (!bitmap) return false;
  painter.carryOut({ apply: { kind: "mask", bitmap } });
  painter.tell("What was drawn before the kernel went away is back; Undo takes it off.");
  return true;
}

// the picture that was opened then
function bring(painter, came) {
  if (came && came.file) painter.open(came.file);
  else if (came) painter.example(came.number);
  return Boolean(came);
}

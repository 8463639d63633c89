// Mouse, finger and pen over the picture, and keys pressed on it, for its painter.
import { commandOf } from "./commands.js";

export function listenToKeys(painter) {
  painter.stage.overlay.addEventListener("keydown", (event) => {
    const [command, ...all] = commandOf(event, painter.tools) || [];
    if (!command) return;
    painter[command](...all);
    event.preventDefault();
  });
}

export function listenToPointer(painter) {
  const { pen, stage } = painter, { overlay } = stage;
  const first = (act) => (event) => { if (event.isPrimary) act(painter, event); };
  overlay.addEventListener("pointerdown", first(press));
  overlay.addEventListener("pointermove", first(move));
  overlay.addEventListener("pointerup", (event) => {
    if (event.isPrimary) painter.carryOut(pen.finish());
    stage.held = null;
  });
  overlay.addEventListener("pointercancel", () => {
    stage.held = null;
    painter.abandon();
  });
  overlay.addEventListener("pointerleave", () => leave(painter));
  overlay.addEventListener("dblclick", () => painter.carryOut(pen.closePolygon()));
  stage.view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    painter.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event);
  }, { passive: false });
}

function press(painter, event) {
  const { pen, stage } = painter;
  if (event.button !== 0 || !stage.size[0]) return;
  stage.overlay.setPointerCapture(event.pointerId);
  stage.overlay.focus({ preventScroll: true });
  if (pen.tool === "pan") {
    stage.hold(event);
  } else {
    pen.point(stage.at(event));
    painter.begin();
  }
}

function move(painter, event) {
  const { mask, pen, stage } = painter;
  if (stage.held) {
    stage.drag(event);
    return;
  }
  const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const one of moves.length ? moves : [event]) {
    const { paint } = pen.extend(stage.at(one));
    if (paint) mask.paint(paint);
  }
  pen.point(stage.at(event));
  painter.tellCursor();
  painter.guide();
}

function leave(painter) {
  if (!painter.pen.stroke) painter.pen.point(null);
  painter.tellCursor();
  painter.guide();
}

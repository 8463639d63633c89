// Where all cells look at once, and where a key leads among them. Pure.
export const WHOLE = { zoom: 1, x: 0, y: 0 };
const MOST = 12;

const inside = (value, zoom) => Math.min(0, Math.max(100 * (1 - zoom), value));

// nearer by `factor`; the point (px, py), in % of the frame, stays where it is
export function nearer({ zoom, x, y }, factor, px = 50, py = 50) {
  const next = Math.min(MOST, Math.max(1, zoom * factor)), share = next / zoom;
  return {
    zoom: next,
    x: inside(px - (px - x) * share, next),
    y: inside(py - (py - y) * share, next),
  };
}

// moved by (dx, dy), in % of the frame
export const moved = ({ zoom, x, y }, dx, dy) => (
  { zoom, x: inside(x + dx, zoom), y: inside(y + dy, zoom) }
);

// the cell a key leads to from cell `at`; null for another key
export function stepped(at, key, rows, columns) {
  const row = Math.floor(at / columns), column = at % columns;
  const to = {
    ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
    ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
    Home: [row, 0], End: [row, columns - 1],
  }[key];
  if (!to) return null;
  const held = (value, most) => Math.min(most - 1, Math.max(0, value));
  return held(to[0], rows) * columns + held(to[1], columns);
}

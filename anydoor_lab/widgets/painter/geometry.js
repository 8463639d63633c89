// Where things are: points of the screen and of the picture, boxes, zoom. Points are [x, y] and
// sizes [width, height], in the picture's own pixels unless said otherwise. Pure.
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// a point of the screen in the picture's pixels; beside the picture, the nearest of its edge
export function toPicture([x, y], bounds, [width, height]) {
  return [
    clamp(((x - bounds.left) / bounds.width) * width, 0, width),
    clamp(((y - bounds.top) / bounds.height) * height, 0, height),
  ];
}

// the pixel that holds a point, as Python counts: [y, x]
export function pixelAt([x, y], [width, height]) {
  return [Math.min(height - 1, Math.floor(y)), Math.min(width - 1, Math.floor(x))];
}

// [x, y, width, height] of all pixels that a box from corner to corner touches
export function rectangle(a, b) {
  const x1 = Math.floor(Math.min(a[0], b[0])), y1 = Math.floor(Math.min(a[1], b[1]));
  const x2 = Math.ceil(Math.max(a[0], b[0])), y2 = Math.ceil(Math.max(a[1], b[1]));
  return [x1, y1, x2 - x1, y2 - y1];
}

// a click with the box tool is no box
export const isBox = ([, , width, height]) => width >= 2 && height >= 2;

// the same box as Python's [y1, x1, y2, x2]
export const cornersOf = ([x, y, width, height]) => [y, x, y + height, x + width];

// whether a polygon's next corner means its first one
export function closes(corners, [x, y], [width]) {
  if (corners.length < 3) return false;
  return Math.hypot(x - corners[0][0], y - corners[0][1]) < width / 60;
}

// a cursor moved by the keyboard, in whole pixels, from the middle where there was none
export function moved(cursor, [dx, dy], far, [width, height]) {
  const by = far ? Math.max(10, Math.round(width / 20)) : 1;
  const [x, y] = cursor || [width / 2, height / 2];
  return [clamp(Math.round(x + by * dx), 0, width), clamp(Math.round(y + by * dy), 0, height)];
}

// the largest and the first size of a brush
export function brushSizes([width, height]) {
  const side = Math.min(width, height);
  return { largest: Math.max(4, Math.round(side / 3)), first: Math.max(2, Math.round(side / 14)) };
}

export const MOST_ZOOM = 12;

// the zoom after one more step of `factor`; 1 shows the whole picture
export const zoomed = (zoom, factor) => clamp(zoom * factor, 1, MOST_ZOOM);

// where a point of the screen is in a picture: shares of its width and height, [0, 1]
export function shareAt([x, y], { left, top, width, height }) {
  return [clamp((x - left) / width, 0, 1), clamp((y - top) / height, 0, 1)];
}

// the style of a picture at a zoom: at 1 as wide as its view, but at most --tall high
export function stageStyle(zoom, [width, height]) {
  return {
    width: `calc(${zoom} * min(100%, var(--tall, 440px) * ${(width / height).toFixed(4)}))`,
    aspectRatio: `${width} / ${height}`,
  };
}

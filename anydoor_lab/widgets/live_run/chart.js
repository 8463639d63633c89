// Numbers to marks: round ticks, short labels, and lines laid out in a frame. Pure.
export function short(value) {
  if (value >= 10000) return `${short(value / 1000)}k`;
  return Number(value.toPrecision(3)).toString();
}

// about four round numbers from low to high: 1, 2 or 5 times a power of ten
export function ticks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k += 1) found.push(k * step);
  return found;
}

// the same for a logarithmic axis, as long as it holds at least two such numbers
export function logTicks(low, high) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    found.push(...[1, 2, 5].map((factor) => factor * power).filter((y) => y >= low && y <= high));
  }
  return found.length > 1 ? found : ticks(low, high);
}

// {name: [[x, y], ...]} in a frame of the given edges, y on a logarithmic axis where `log`:
// lines [[name, points]], rows and columns [[position, label]]; null where there is no point
export function laidOut(series, log, { left, right, top, bottom }) {
  const named = Object.entries(series || {})
    .map(([name, points]) => [name, points.filter(([, y]) => !log || y > 0)])
    .filter(([, points]) => points.length);
  const all = named.flatMap(([, points]) => points);
  if (!all.length) return null;
  const scale = log ? Math.log10 : (value) => value;
  const xs = all.map(([x]) => x), ys = all.map(([, y]) => scale(y));
  const low = log ? Math.min(...ys) : 0, x1 = Math.min(...xs);
  const high = Math.max(...ys, low + 0.02), x2 = Math.max(...xs, x1 + 1);
  const across = (x) => left + ((x - x1) / (x2 - x1)) * (right - left);
  const down = (y) => bottom - ((scale(y) - low) / (high - low)) * (bottom - top);
  const levels = log ? logTicks(10 ** low, 10 ** high) : ticks(low, high);
  return {
    lines: named.map(([name, points]) => [name, points.map(([x, y]) => [across(x), down(y)])]),
    rows: levels.map((y) => [down(y), short(y)]),
    columns: ticks(x1, x2).map((x) => [across(x), short(x)]),
  };
}

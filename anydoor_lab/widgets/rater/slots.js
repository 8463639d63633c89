// Which rating a key leads to. Pure: places stand beside each other, criteria below each other.
export const KEYS = ["1", "2", "3", "4"];

// the slot after an arrow key from [place, criterion]; null for another key
export function arrow([place, criterion], key, places, criteria) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (!step) return null;
  const held = (value, most) => Math.min(most - 1, Math.max(0, value));
  return [held(place + step[0], places), held(criterion + step[1], criteria)];
}

// the next slot without a score, row by row from `slot` on and then from the start; null if none
export function open(scores, slot) {
  const places = scores.length, criteria = places ? scores[0].length : 0;
  const from = slot[1] * places + slot[0];
  for (let step = 1; step <= places * criteria; step += 1) {
    const at = (from + step) % (places * criteria);
    const [place, criterion] = [at % places, Math.floor(at / places)];
    if (!scores[place][criterion]) return [place, criterion];
  }
  return null;
}

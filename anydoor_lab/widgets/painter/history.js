// What was done, step by step. The mask is what the steps leave behind: undo takes one away and
// paints the others again, so it is exact. Pure.
const REPLACING = ["box", "mask", "clear"];

// whether nothing of what was marked before a step is left after it
export const replacesAll = (step) => REPLACING.includes(step.kind);

export class History {
  constructor() {
    this.forget();
  }

  forget() {
    this.done = [];
    this.undone = [];
    this.given = 0; // steps that a picture came with: undo leaves them
  }

  // the mask that a picture came with
  begin(step) {
    this.forget();
    this.done.push(step);
    this.given = 1;
  }

  get canUndo() {
    return this.done.length > this.given;
  }

  get last() {
    return this.done.at(-1);
  }

  // a new step; what was undone before it cannot come back
  add(step) {
    this.done.push(step);
    this.undone = [];
  }

  // whether there was something to undo, or to redo
  undo() {
    return this.canUndo && moveLast(this.done, this.undone);
  }

  redo() {
    return moveLast(this.undone, this.done);
  }

  // the steps to paint: from the last one that replaced all before it
  get shown() {
    const whole = this.done.findLastIndex(replacesAll);
    return this.done.slice(Math.max(0, whole));
  }
}

function moveLast(from, to) {
  if (!from.length) return false;
  to.push(from.pop());
  return true;
}

// A board's rows of controls: filling it, and how its pictures are looked at.
import { button, element } from "../elements.js";
import { WHOLE, nearer } from "./look.js";

export const MODES = [
  ["result", "Results", "r", ""],
  ["difference", "Difference (3x)", "d", "To the baseline, three times as strong. "],
  ["before", "Before / after", "c", ""],
];

export function zoomBy(board, key) {
  board.turn(key === "0" ? WHOLE : nearer(board.look(), key === "+" ? 1.5 : 1 / 1.5));
}

// Generate, Cancel, progress and status
export function work(board) {
  const { model } = board, row = element("div", { className: "ad-row ad-bar" });
  const fill = button("Fill the board", () => board.send({ do: "generate" }),
    { className: "ad-main" });
  const cancel = button("Cancel", () => board.send({ do: "cancel" }));
  const save = button("Save board", () => board.send({ do: "save" }));
  const bar = element("progress", { max: 1, "aria-label": "Progress" });
  const status = element("span", { role: "status" });
  function tell() {
    fill.disabled = model.get("busy");
    cancel.disabled = !model.get("busy");
    bar.value = model.get("progress");
    bar.classList.toggle("ad-hidden", !model.get("busy"));
    status.textContent = model.get("status");
    board.root.dataset.busy = model.get("busy");
    board.root.dataset.finished = model.get("finished");
  }
  for (const name of ["busy", "progress", "status", "finished"]) model.on(`change:${name}`, tell);
  tell();
  if (board.can("generate")) row.append(fill, cancel);
  if (board.can("save")) row.append(save);
  row.append(bar, status);
  return row;
}

// how the pictures are looked at
export function looks(board) {
  const { model, root } = board;
  const row = element("div", { className: "ad-row ad-bar", role: "group", "aria-label": "Look" });
  const modes = MODES.filter(([name]) => name !== "before" || board.can("before"));
  const buttons = modes.map(([name, text, key, about]) => (
    button(text, () => board.set("mode", name), { title: `${about}Key ${key}` })
  ));
  const split = element("input", {
    type: "range", min: 0, max: 100, value: 50, "aria-label": "Before and after",
  });
  const sliding = element("label", { className: "ad-field" }, "Before", split, "After");
  const zooms = [["−", "-", "Zoom out"], ["+", "+", "Zoom in"], ["Fit", "0", "Show all"]].map(
    ([text, key, title]) => button(text, () => zoomBy(board, key), { title, "aria-label": title }),
  );
  function tell() {
    root.dataset.mode = model.get("mode");
    const chosen = model.get("mode");
    buttons.forEach((one, k) => one.setAttribute("aria-pressed", modes[k][0] === chosen));
    sliding.classList.toggle("ad-unseen", model.get("mode") !== "before"); // no button jumps
    // to the right is more of the result, as the words beside the slider say
    root.style.setProperty("--split", `${100 - split.value}%`);
  }
  split.addEventListener("input", tell);
  model.on("change:mode", tell);
  tell();
  row.append(...buttons, ...zooms, ...places(board), sliding);
  return row;
}

// which pair is shown, and how much of it
function places(board) {
  const { model } = board, made = [];
  if (board.can("whole")) {
    const whole = button("Whole picture", () => board.set("whole", !model.get("whole")));
    const tell = () => whole.setAttribute("aria-pressed", model.get("whole"));
    model.on("change:whole", tell);
    tell();
    made.push(whole);
  }
  const many = model.get("num_pairs");
  if (many > 1) {
    const options = Array.from({ length: many }, (_, k) => (
      element("option", { value: k }, `Pair ${k + 1}`)
    ));
    const chosen = element("select", { "aria-label": "Pair" }, ...options);
    chosen.addEventListener("change", () => board.set("pair", Number(chosen.value)));
    model.on("change:pair", () => { chosen.value = model.get("pair"); });
    chosen.value = model.get("pair");
    made.push(chosen);
  }
  return made;
}

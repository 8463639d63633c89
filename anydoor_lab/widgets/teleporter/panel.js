// The Teleporter's settings, progress, proposals and before/after slider.
import {
  UPLOAD_LIMIT, button, element, fileButton, keepKeys, messageLine, scoped, urls,
} from "../elements.js";

// name of the setting, its label, step of its arrows
const NUMBERS = [
  ["steps", "Steps", 1],
  ["guidance", "Guidance", 0.5],
  ["seed", "Seed", 1],
  ["proposals", "Proposals", 1],
];
const CHOICES = [
  ["idx", "ID extractor"],
  ["collage", "Collage"],
  ["shape", "Region's shape"],
  ["blend", "Paste back"],
];

// what was typed as a number within the range, whole where the setting is
export function typedNumber(name, typed, [low, high]) {
  const value = Math.min(high, Math.max(low, Number(typed) || low));
  return name === "guidance" ? value : Math.round(value);
}

// the width of a picture behind the slider, pixels: at most 460 high, never too narrow to slide
export const comparedWidth = (width, height) => Math.max(380, Math.round((460 * width) / height));

function setter(model) {
  return (name, value) => { model.set(name, value); model.save_changes(); };
}

// a labelled input that follows its setting, and sets it
function field(model, text, input, name, read) {
  const set = setter(model);
  const show = () => { input.value = model.get(name); };
  input.addEventListener("change", () => set(name, read(input.value)));
  input.dataset.setting = name;
  model.on(`change:${name}`, show);
  show();
  return element("label", { className: "ad-field" }, text, input);
}

function settings(model) {
  const ranges = model.get("_ranges"), choices = model.get("_choices");
  const numbers = NUMBERS.map(([name, text, step]) => {
    const [min, max] = ranges[name];
    const input = element("input", { type: "number", min, max, step });
    input.style.width = "76px";
    return field(model, text, input, name, (typed) => typedNumber(name, typed, ranges[name]));
  });
  const selects = CHOICES.map(([name, text]) => {
    const options = choices[name].map((own) => element("option", { value: own }, own));
    return field(model, text, element("select", {}, ...options), name, String);
  });
  const own = { className: "ad-controls", role: "group", "aria-label": "Settings" };
  return element("div", own, ...numbers, ...selects);
}

function openButton(model) {
  return fileButton("Open recipe…", ".json,application/json", async (file) => {
    if (file.size > UPLOAD_LIMIT) {
      setter(model)("message", `${file.name} is larger than 9 MB; open it by its path`);
      return;
    }
    model.send({ do: "open" }, undefined, [await file.arrayBuffer()]);
  });
}

// the row of Generate, Cancel, Open and progress, following the model
function work(model, root) {
  const main = { className: "ad-main" };
  const generate = button("Generate", () => model.send({ do: "generate" }), main);
  const cancel = button("Cancel", () => model.send({ do: "cancel" }));
  const bar = element("progress", { max: 1, "aria-label": "Progress" });
  const status = element("span", { role: "status" });
  function tell() {
    cancel.disabled = !model.get("busy");
    bar.value = model.get("progress");
    bar.classList.toggle("ad-hidden", !model.get("busy"));
    status.textContent = model.get("status");
    root.dataset.finished = model.get("finished");
    root.dataset.busy = model.get("busy");
  }
  for (const name of ["busy", "progress", "status", "finished"]) model.on(`change:${name}`, tell);
  tell();
  const row = [generate, cancel, openButton(model), bar, status];
  return element("div", { className: "ad-row" }, ...row);
}

// one button per proposal; a press chooses it
function gallery(model, url) {
  const own = { className: "ad-gallery", role: "group", "aria-label": "Proposals" };
  const root = element("div", own), set = setter(model);
  const mark = () => [...root.children].forEach((one, k) => (
    one.setAttribute("aria-pressed", k === model.get("chosen"))
  ));
  function proposal(k) {
    const name = `Proposal ${k + 1}`, image = element("img", { alt: name });
    return button(image, () => set("chosen", k), { title: name });
  }
  function show() {
    const images = model.get("_gallery");
    while (root.children.length > images.length) root.lastChild.remove();
    images.forEach((bytes, k) => {
      if (!root.children[k]) root.append(proposal(k));
      root.children[k].firstChild.src = url(`thumb${k}`, bytes);
    });
    mark();
  }
  model.on("change:_gallery", show);
  model.on("change:chosen", mark);
  show();
  return root;
}

// the scene and the chosen proposal, one over the other up to a line that slides
function comparison(model, url) {
  const before = element("img", { alt: "The scene" });
  const after = element("img", { alt: "The scene with the object" });
  const edge = element("div", { className: "ad-edge" });
  const slider = element("input", {
    type: "range", min: 0, max: 100, value: 50, "aria-label": "Before and after",
  });
  slider.style.width = "130px";
  const save = button("Save picture and recipe", () => model.send({ do: "save" }));
  const sliding = element("label", { className: "ad-field" }, "Before", slider, "After");
  const row = element("div", { className: "ad-row" }, sliding, save);
  const compare = element("div", { className: "ad-compare" }, before, after, edge);
  const root = element("div", { className: "ad-shown" }, row, compare);
  function slide() {
    after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    edge.style.left = `${slider.value}%`;
  }
  function show() {
    before.src = url("before", model.get("_before"));
    after.src = url("after", model.get("_after"));
    root.classList.toggle("ad-hidden", !before.getAttribute("src"));
    slide();
  }
  slider.addEventListener("input", slide);
  before.addEventListener("load", () => {
    const width = comparedWidth(before.naturalWidth, before.naturalHeight);
    root.style.width = `min(100%, ${width}px)`;
  });
  for (const name of ["_before", "_after"]) model.on(`change:${name}`, show);
  show();
  return root;
}

export default {
  render({ model: shared, el }) {
    const model = scoped(shared), url = urls();
    const root = element("div", { className: "ad ad-panel" });
    root.append(settings(model), work(model, root));
    messageLine(model, root);
    const result = [gallery(model, url), comparison(model, url)];
    root.append(element("div", { className: "ad-result" }, ...result));
    keepKeys(root);
    el.append(root);
    return () => model.release();
  },
};

// What a press made: the picture with its handle, its proposals, and the results before it.
import { button, element, roving, urls } from "../elements.js";

const KEYS = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, Home: -100, End: 100 };

// where the handle is after a key, percent from the left; null where the key means nothing
export const slid = (at, key) => (
  KEYS[key] ? Math.min(100, Math.max(0, at + KEYS[key])) : null
);

function group(className, label) {
  return roving(element("div", { className, role: "group", "aria-label": label }));
}

// buttons with pictures that follow a list of the model; a press sets `name` to its place
function pictures(model, root, { list, name, words }) {
  const url = urls();
  const mark = () => [...root.children].forEach((one, k) => (
    one.setAttribute("aria-pressed", k === model.get(name))
  ));
  function choose(k) {
    model.set(name, k);
    model.save_changes();
  }
  function show() {
    const items = model.get(list);
    while (root.children.length > items.length) root.lastChild.remove();
    items.forEach((item, k) => {
      if (!root.children[k]) root.append(button(element("img", { alt: "" }), () => choose(k)));
      const one = root.children[k], { picture, text } = words(item, k);
      one.firstChild.src = url(`${list}${k}`, picture);
      one.title = text;
      one.setAttribute("aria-label", text);
    });
    mark();
  }
  model.on(`change:${list}`, show);
  model.on(`change:${name}`, mark);
  show();
  return root;
}

export const gallery = (model) => pictures(model, group("ad-thumbs ad-gallery", "Proposals"), {
  list: "_gallery",
  name: "chosen",
  words: (picture, k) => ({ picture, text: `Proposal ${k + 1}` }),
});

export function strip(model) {
  const earlier = pictures(model, group("ad-thumbs ad-strip", "Results so far"), {
    list: "_strip",
    name: "shown",
    words: ({ picture, words }, k) => ({ picture, text: `Result ${k + 1}: ${words}` }),
  });
  const told = element("div", { className: "ad-words" });
  const tell = () => {
    const one = model.get("_strip")[model.get("shown")];
    told.textContent = one ? `Result ${model.get("shown") + 1}: ${one.words}` : "";
  };
  for (const name of ["_strip", "shown"]) model.on(`change:${name}`, tell);
  tell();
  return element("div", {}, earlier, told);
}

// a handle over a picture: left of it one thing, right of it the other
function handle(root, slide) {
  const grip = element("div", {
    className: "ad-edge", role: "slider", tabIndex: 0, "aria-label": "Scene and result",
    "aria-valuemin": 0, "aria-valuemax": 100, title: "Drag: left the scene, right the result",
  });
  let at = 0;
  function to(percent) {
    at = percent;
    grip.style.left = `clamp(13px, ${at}%, calc(100% - 13px))`;
    grip.setAttribute("aria-valuenow", Math.round(at));
    grip.setAttribute("aria-valuetext", `scene up to ${Math.round(at)} percent, then result`);
    slide(at);
  }
  function follow({ clientX }) {
    const { left, width } = root.getBoundingClientRect();
    to(Math.min(100, Math.max(0, (100 * (clientX - left)) / width)));
  }
  root.addEventListener("pointerdown", (event) => {
    root.setPointerCapture(event.pointerId);
    follow(event);
  });
  root.addEventListener("pointermove", (event) => {
    if (root.hasPointerCapture(event.pointerId)) follow(event);
  });
  grip.addEventListener("keydown", (event) => {
    const next = slid(at, event.key);
    if (next === null) return;
    to(next);
    event.preventDefault();
  });
  root.append(grip);
  return to;
}

// the scene and the chosen proposal, one over the other; it begins with the result
export function comparison(model) {
  const url = urls(), image = (alt) => element("img", { alt, draggable: false });
  const before = image("The scene"), after = image("The scene with the object");
  const names = [["ad-left", "Scene"], ["ad-right", "Result"]].map(([side, text]) => (
    element("span", { className: `ad-name ${side}`, "aria-hidden": "true" }, text)
  ));
  const stale = element("div", { className: "ad-stale", role: "status" });
  const compare = element("div", { className: "ad-compare" }, before, after, ...names, stale);
  const to = handle(compare, (at) => {
    after.style.clipPath = `inset(0 0 0 ${at}%)`;
    names[0].classList.toggle("ad-hidden", at < 20);
    names[1].classList.toggle("ad-hidden", at > 80);
  });
  const empty = element("div", { className: "ad-empty" }, "The result will be here.");
  function show() {
    before.src = url("before", model.get("_before"));
    after.src = url("after", model.get("_after"));
    const there = Boolean(before.getAttribute("src"));
    compare.classList.toggle("ad-hidden", !there);
    empty.classList.toggle("ad-hidden", there);
  }
  before.addEventListener("load", () => {
    const ratio = (before.naturalWidth / before.naturalHeight).toFixed(4);
    compare.style.width = `min(100%, var(--tall, 440px) * ${ratio})`;
    compare.style.aspectRatio = ratio;
  });
  const mark = () => { stale.textContent = model.get("stale"); };
  for (const name of ["_before", "_after"]) model.on(`change:${name}`, show);
  model.on("change:finished", () => to(0));
  model.on("change:shown", () => to(0));
  model.on("change:stale", mark);
  to(0);
  show();
  mark();
  return element("div", { className: "ad-stand" }, compare, empty);
}

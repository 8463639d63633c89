// Rating without names: pictures side by side, a row of four buttons for each criterion.
import { button, element, heard, keepKeys, messageLine, scoped, urls } from "../elements.js";
import { KEYS, arrow, open } from "./slots.js";

const RATE_AGAIN = "All ratings but the last are saved: run this cell again and go on from there.";
const WORDS = ["1 (worst)", "2", "3", "4 (best)"];

// the slot that keys rate, and the scores as they were told
function desk(model, root) {
  let slot = [0, 0];
  const send = heard(model, RATE_AGAIN);
  return {
    model, root, send,
    slot: () => slot,
    move(next) {
      slot = next;
      root.dispatchEvent(new Event("ad-slot"));
    },
    rate(place, criterion, score) {
      const item = model.get("item"), name = model.get("criteria")[criterion];
      send({ do: "rate", place, criterion: name, score, item });
      const scores = model.get("_scores").map((several) => [...several]);
      if (scores[place]) scores[place][criterion] = score; // as it will be, unless it is refused
      this.move(open(scores, [place, criterion]) || [place, criterion]);
    },
    turn(by) {
      const to = Math.min(model.get("num_items") - 1, Math.max(0, model.get("item") + by));
      if (to === model.get("item")) return;
      model.set("item", to);
      model.save_changes();
      this.move([0, 0]);
    },
  };
}

function head(board) {
  const { model, root } = board;
  const before = button("← Previous", () => board.turn(-1));
  const after = button("Next →", () => board.turn(1));
  const bar = element("progress", { "aria-label": "Ratings" });
  const text = element("span", { role: "status" });
  function tell() {
    const { item, num_items: items, rated, total } = Object.fromEntries(
      ["item", "num_items", "rated", "total"].map((name) => [name, model.get(name)]),
    );
    before.disabled = item === 0;
    after.disabled = item === items - 1;
    bar.max = total;
    bar.value = rated;
    const ended = model.get("finished") ? "; all is rated and saved, thank you" : "";
    text.textContent = `Item ${item + 1} of ${items}; ${rated} of ${total} ratings saved${ended}`;
    root.dataset.rated = rated;
    root.dataset.finished = model.get("finished");
  }
  for (const name of ["item", "rated", "finished"]) model.on(`change:${name}`, tell);
  tell();
  return element("div", { className: "ad-row" }, before, after, bar, text);
}

// one criterion of one place: four buttons
function scale(board, place, criterion) {
  const { model } = board, name = model.get("criteria")[criterion];
  const buttons = KEYS.map((key, k) => button(key, () => board.rate(place, criterion, k + 1), {
    title: WORDS[k], tabIndex: -1, "aria-label": `${name} ${WORDS[k]}`,
  }));
  const own = { className: "ad-scale", role: "group", "aria-label": `${name} of ${place + 1}` };
  const root = element("div", own, element("span", {}, name), ...buttons);
  function tell() {
    const scores = model.get("_scores")[place] || [], [at, which] = board.slot();
    buttons.forEach((one, k) => one.setAttribute("aria-pressed", scores[criterion] === k + 1));
    root.classList.toggle("ad-now", at === place && which === criterion);
  }
  return { root, tell };
}

// the pictures as they came, the rated ones with their scales below
function sets(board) {
  const { model } = board, url = urls(), root = element("div", { className: "ad-sets" });
  let scales = [], used = 0;
  const tell = () => scales.forEach((one) => one.tell());
  function show({ item, sets: given }, buffers) {
    if (item !== model.get("item")) return; // of an item that was turned away from
    let next = 0;
    scales = [];
    const figures = given.map(([title, number]) => {
      const images = Array.from({ length: number }, () => {
        const alt = `${title}, picture ${next + 1}`, src = url(`picture${next}`, buffers[next]);
        next += 1;
        return element("img", { alt, src, draggable: false });
      });
      const place = Number(title) - 1;
      const made = place >= 0 ? model.get("criteria").map((_, c) => scale(board, place, c)) : [];
      scales.push(...made);
      const several = element("div", { className: number > 1 ? "ad-set ad-many" : "ad-set" });
      several.append(...images);
      const caption = element("figcaption", {}, title);
      return element("figure", {}, caption, several, ...made.map((one) => one.root));
    });
    for (let k = next; k < used; k += 1) url(`picture${k}`);
    used = next;
    root.replaceChildren(...figures);
    board.root.dataset.item = item;
    tell();
  }
  model.on("msg:custom", show);
  model.on("change:_scores", tell);
  board.root.addEventListener("ad-slot", tell);
  return root;
}

function keys(board) {
  const { model, root } = board;
  root.addEventListener("keydown", (event) => {
    const places = model.get("num_places"), criteria = model.get("criteria").length;
    const to = arrow(board.slot(), event.key, places, criteria);
    if (to) board.move(to);
    else if (KEYS.includes(event.key)) board.rate(...board.slot(), Number(event.key));
    else if (event.key === "PageDown" || event.key === "n") board.turn(1);
    else if (event.key === "PageUp" || event.key === "p") board.turn(-1);
    else if (event.key === "Enter" && event.target === root) board.turn(1);
    else return;
    event.preventDefault();
  });
}

// what all sheets come to so far, without names
function summary(board) {
  const { model } = board, table = element("table"), root = element("details", {});
  root.append(element("summary", {}, "Results so far (codes, not names)"), table);
  function tell() {
    const [first, ...rows] = model.get("_summary");
    root.classList.toggle("ad-hidden", !model.get("results") || !first);
    if (!first) return;
    const line = (cells, tag) => (
      element("tr", {}, ...cells.map((text) => element(tag, {}, text)))
    );
    table.replaceChildren(line(first, "th"), ...rows.map((cells) => line(cells, "td")));
  }
  model.on("change:_summary", tell);
  tell();
  return root;
}

export default {
  render({ model: given, el }) {
    const model = scoped(given);
    const root = element("div", { className: "ad ad-rater", tabIndex: 0, role: "application" });
    root.setAttribute("aria-label", `Ratings of ${model.get("rater")}`);
    const board = desk(model, root), questions = model.get("_questions");
    const asked = model.get("criteria").map((name, k) => (
      element("span", {}, element("b", {}, name), questions[k] ? `: ${questions[k]}` : "")
    ));
    root.append(head(board), element("p", { className: "ad-questions" }, ...asked));
    messageLine(model, root, RATE_AGAIN);
    root.append(sets(board), element("p", { className: "ad-hint" },
      "Click here or on a picture, then: 1 (worst) to 4 (best) rate and go on, arrows move, "
      + "Enter or Page down is the next item, Page up the one before. Each rating is saved."));
    root.append(summary(board));
    root.addEventListener("click", (event) => {
      if (event.target.tagName !== "BUTTON") root.focus();
    });
    keys(board);
    keepKeys(root);
    el.append(root);
    board.send({ do: "want" });
    return () => model.release();
  },
};

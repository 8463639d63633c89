// A board: a grid of pictures that are looked at together, and the chosen one in large.
import {
  button, element, heard, keepKeys, messageLine, scoped, urls,
} from "../elements.js";
import { MODES, looks, work, zoomBy } from "./controls.js";
import { WHOLE, moved, nearer, stepped } from "./look.js";

const SHARP_FROM = 1.5; // zoom from which the thumbnails are too coarse

const FILL_AGAIN = "Its pictures stay until the page is closed: run this cell again and fill the "
  + "board anew. (A board that was saved stays for good.)";

// what all parts of one view share
function shared(model, root) {
  const url = urls(), sources = new Map(), asked = new Set();
  let look = WHOLE;
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  return {
    model, root, set, sources, send: heard(model, FILL_AGAIN),
    take: (key, bytes) => sources.set(key, url(key, bytes)),
    // large pictures of these cells, each asked for once
    want(cells) {
      const fresh = cells.filter((k) => !asked.has(k));
      fresh.forEach((k) => asked.add(k));
      if (fresh.length) this.send({ do: "want", cells: fresh, large: true });
    },
    forget: (start) => [...sources.keys()].filter((k) => k.startsWith(start)).forEach((key) => {
      url(key);
      sources.delete(key);
      asked.clear();
    }),
    look: () => look,
    turn(next) {
      look = next;
      for (const [name, value] of Object.entries(next)) root.style.setProperty(`--${name}`, value);
      root.dataset.zoomed = look.zoom > 1;
      root.dispatchEvent(new Event("ad-look"));
    },
    columns: () => model.get("columns").length,
    can: (act) => model.get("acts").includes(act),
  };
}

// a picture with the scene before and the baseline over it, each shown in its mode
function frame() {
  const image = element("img", { alt: "", draggable: false });
  const before = element("img", { alt: "", draggable: false });
  const against = element("img", { alt: "", draggable: false, className: "ad-over ad-against" });
  const word = element("div", { className: "ad-word" });
  const split = element("div", { className: "ad-over ad-before" }, before);
  const root = element("div", { className: "ad-frame" }, image, split, against, word);
  return { root, image, before, against, word };
}

function source(image, url) {
  if (url) {
    if (image.getAttribute("src") !== url) image.src = url;
  } else image.removeAttribute("src");
}

// the pictures of cell k in a frame, as large as they are at hand where `large`
function dress(board, made, k, large) {
  const note = board.model.get("_notes")[k] || { state: "waiting", word: "", against: -1 };
  const best = (number) => (large && board.sources.get(`large:${number}`))
    || board.sources.get(`cell:${number}`) || "";
  made.root.dataset.state = note.state;
  made.word.textContent = note.word;
  source(made.image, best(k));
  source(made.before, board.sources.get(`before:${note.pair}`) || "");
  source(made.against, note.against >= 0 && note.state === "done" ? best(note.against) : "");
}

// name, value and difference to the baseline, a line each
function scores(root, note) {
  root.replaceChildren(...((note && note.scores) || []).flatMap(([name, value, delta, sign]) => [
    element("span", {}, name), element("b", {}, value),
    element("span", { className: ["ad-worse", "", "ad-better"][sign + 1] }, delta),
  ]));
}

function cell(board, k, name) {
  const made = frame(), lines = element("div", { className: "ad-scores" });
  const root = element("div", { className: "ad-cell", role: "gridcell", tabIndex: -1 });
  root.append(made.root, lines);
  root.dataset.cell = k;
  function tell() {
    const note = board.model.get("_notes")[k];
    dress(board, made, k, board.look().zoom >= SHARP_FROM);
    scores(lines, note);
    const state = note ? `${note.state} ${note.word}` : "waiting";
    root.setAttribute("aria-label", `${name}: ${state}`);
    made.image.alt = name;
    root.classList.toggle("ad-base", board.model.get("baseline") === k);
  }
  function mark() {
    const chosen = board.model.get("selected");
    root.setAttribute("aria-selected", chosen === k);
    root.tabIndex = k === Math.max(chosen, 0) ? 0 : -1;
  }
  tell();
  mark();
  return { root, tell, mark };
}

function grid(board) {
  const { model } = board, rows = model.get("rows"), columns = model.get("columns");
  const root = element("div", { className: "ad-grid", role: "grid", "aria-label": "Board" });
  root.style.setProperty("--columns", columns.length);
  root.style.gridTemplateColumns = "92px repeat(var(--columns), var(--cell))";
  const head = (className, role, text) => (
    element("div", { className, role }, text.replaceAll(", ", "\n"))
  );
  root.append(element("div"), ...columns.map((text) => head("ad-colhead", "columnheader", text)));
  const cells = [];
  rows.forEach((text, r) => {
    const line = element("div", { role: "row" }, head("ad-rowhead", "rowheader", text));
    line.style.display = "contents";
    columns.forEach((other, c) => {
      cells.push(cell(board, r * columns.length + c, `${text}, ${other}`));
      line.append(cells.at(-1).root);
    });
    root.append(line);
  });
  return { root, cells };
}

// clicks, keys, drags and the wheel with Ctrl, on all cells alike
function handle(board, root, cells) {
  const { model } = board;
  const at = (event) => event.target.closest(".ad-cell");
  function choose(k) {
    board.set("selected", k);
    cells[k].root.focus();
  }
  root.addEventListener("click", (event) => at(event) && choose(Number(at(event).dataset.cell)));
  root.addEventListener("dblclick", (event) => at(event) && open(board));
  root.addEventListener("keydown", (event) => {
    const from = Math.max(model.get("selected"), 0);
    const to = stepped(from, event.key, model.get("rows").length, board.columns());
    const mode = MODES.find(([, , key]) => key === event.key);
    if (to !== null) choose(to);
    else if (event.key === "Enter") open(board);
    else if (event.key === "b") board.can("baseline") && board.set("baseline", from);
    else if (mode) board.set("mode", mode[0]);
    else if ("+-0".includes(event.key)) zoomBy(board, event.key);
    else return;
    event.preventDefault();
  });
  root.addEventListener("wheel", (event) => {
    const frameAt = event.target.closest(".ad-frame");
    if (!frameAt || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { left, top, width, height } = frameAt.getBoundingClientRect();
    const share = [(event.clientX - left) / width, (event.clientY - top) / height];
    board.turn(nearer(board.look(), event.deltaY < 0 ? 1.25 : 0.8, ...share.map((s) => 100 * s)));
  }, { passive: false });
}

function dragged(board, root) {
  root.addEventListener("pointermove", (event) => {
    const frameAt = event.target.closest(".ad-frame");
    if (!frameAt || event.buttons !== 1 || board.look().zoom === 1) return;
    const { width, height } = frameAt.getBoundingClientRect();
    const by = [(100 * event.movementX) / width, (100 * event.movementY) / height];
    board.turn(moved(board.look(), ...by));
  });
}

// the message names its cell: it may overtake the choice that is on its way to the kernel
function open(board) {
  const cell = board.model.get("selected");
  if (board.can("open") && cell >= 0) board.send({ do: "open", cell });
}

// the chosen cell in large, and what can be done with it
function detail(board, name) {
  const { model } = board, made = frame(), lines = element("div", { className: "ad-scores" });
  const title = element("p", { className: "ad-head" }), about = element("p");
  const base = button("Make it the baseline", () => board.set("baseline", model.get("selected")));
  const acts = element("div", { className: "ad-row" });
  if (board.can("baseline")) acts.append(base);
  if (board.can("open")) acts.append(button("Open in a Teleporter", () => open(board)));
  const root = element("aside", { "aria-label": "Chosen cell" }, title, made.root, lines);
  root.append(about, acts);
  function tell() {
    const k = model.get("selected"), note = model.get("_notes")[k];
    root.classList.toggle("ad-hidden", k < 0);
    if (k < 0) return;
    if (note && note.state === "done") board.want([k]);
    title.textContent = name(k);
    dress(board, made, k, true);
    scores(lines, note);
    about.textContent = note ? note.about : "";
  }
  tell();
  return { root, tell };
}

// asks for sharp pictures of the cells that are seen, once the eye rests
function sharpen(board, scroll, cells) {
  let waiting = 0;
  function ask() {
    const seen = scroll.getBoundingClientRect(), notes = board.model.get("_notes");
    const visible = cells.map(({ root }, k) => [root.getBoundingClientRect(), k])
      .filter(([at, k]) => at.bottom > seen.top && at.top < seen.bottom
        && at.right > seen.left && at.left < seen.right && notes[k] && notes[k].state === "done")
      .map(([, k]) => k);
    board.want(visible);
    cells.forEach((one) => one.tell());
  }
  const rest = () => {
    clearTimeout(waiting);
    if (board.look().zoom >= SHARP_FROM) waiting = setTimeout(ask, 200);
  };
  board.root.addEventListener("ad-look", rest);
  scroll.addEventListener("scroll", rest);
}

// pictures as they come; each goes to the cells that show it
function listen(board, tell) {
  const { model } = board;
  model.on("msg:custom", (content, buffers) => {
    if (content.opened) follow(board);
    if (!content.key) return;
    board.take(content.key, buffers[0]);
    const [kind, number] = content.key.split(":");
    tell(kind === "before" || Number(number) === model.get("baseline") ? null : Number(number));
  });
  for (const name of ["whole", "pair"]) {
    model.on(`change:${name}`, () => { board.forget("large:"); tell(null); });
  }
  for (const name of ["_notes", "baseline"]) model.on(`change:${name}`, () => tell(null));
  board.send({ do: "want", cells: null, large: false });
}

// show the Teleporter that was opened below, once it stands there
function follow(board, left = 100) {
  const whole = board.root.closest(".jupyter-widgets.widget-vbox");
  const below = whole && whole.querySelector(".ad-teleporter");
  if (below) below.scrollIntoView({ block: "start" });
  else if (left) setTimeout(() => follow(board, left - 1), 100);
}

const hint = (board) => [
  "Dashed frame: the baseline; green and red numbers: better and worse than it.",
  "Keys: arrows move", board.can("open") && "Enter opens", board.can("baseline") && "B baseline",
  "R result", "D difference", "+ − 0 zoom (or Ctrl and the wheel; drag to move).",
].filter(Boolean).join(", ").replace("it., ", "it. ");

export function render({ model: given, el }) {
  const model = scoped(given);
  const root = element("div", { className: "ad ad-board" }), board = shared(model, root);
  const rows = model.get("rows"), columns = model.get("columns");
  const name = (k) => `${rows[Math.floor(k / columns.length)]}, ${columns[k % columns.length]}`;
  root.append(element("p", { className: "ad-head" }, model.get("title")));
  root.append(work(board), looks(board));
  messageLine(model, root, FILL_AGAIN);
  const made = grid(board), chosen = detail(board, name);
  const scroll = element("div", { className: "ad-scroll" }, made.root);
  root.append(element("div", { className: "ad-body" }, scroll, chosen.root));
  root.append(element("p", { className: "ad-hint" }, hint(board)));
  handle(board, made.root, made.cells);
  dragged(board, root);
  sharpen(board, scroll, made.cells);
  listen(board, (k) => {
    (k === null ? made.cells : [made.cells[k]]).forEach((one) => one.tell());
    chosen.tell();
  });
  model.on("change:selected", () => {
    made.cells.forEach((one) => one.mark());
    chosen.tell();
  });
  board.turn(WHOLE);
  keepKeys(root);
  el.append(root);
  return () => {
    board.forget("");
    model.release();
  };
}

export default { render };

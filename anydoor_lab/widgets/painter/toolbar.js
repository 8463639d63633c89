// The buttons above a picture: tools, steps, view. What they ask for goes to `act`.
import { button, element, roving } from "../elements.js";
import { TOOLS, ZOOM_STEP } from "./commands.js";

export class Toolbar {
  // act: (command, ...arguments)
  constructor(tools, act) {
    this.act = act;
    this.tools = new Map(tools.map((name) => [name, this.tool(name)]));
    this.slider = element("input", {
      type: "range", min: 1, max: 100, "aria-label": "Brush size in pixels",
    });
    this.slider.style.width = "84px";
    this.slider.addEventListener("input", () => act("setSize", Number(this.slider.value)));
    this.size = element("label", { className: "ad-field" }, "Size", this.slider);
    this.undo = this.button("Undo", "Undo (Ctrl+Z)", "undo");
    this.redo = this.button("Redo", "Redo (Ctrl+Y)", "redo");
    this.clear = this.button("Clear", "Clear all marks (Delete)", "clear");
    const parts = [
      [...this.tools.values()], [this.undo, this.redo, this.clear], this.viewing(),
    ].map((group) => element("span", { className: "ad-group" }, ...group));
    const own = { className: "ad-row", role: "toolbar", "aria-label": "Drawing tools" };
    this.root = roving(element("div", own, ...parts));
  }

  button(text, title, ...command) {
    return button(text, () => this.act(...command), { title, "aria-label": title });
  }

  tool(name) {
    const [text, key, title] = TOOLS[name];
    const made = this.button(text, `${title} (${key})`, "choose", name);
    made.setAttribute("aria-label", text);
    made.dataset.tool = name;
    return made;
  }

  viewing() {
    return [
      this.button("−", "Zoom out (-)", "zoom", 1 / ZOOM_STEP),
      this.button("+", "Zoom in (+)", "zoom", ZOOM_STEP),
      this.button("Fit", "Show the whole picture (0)", "zoom", 0),
    ];
  }

  choose(tool) {
    this.tools.forEach((made, name) => made.setAttribute("aria-pressed", name === tool));
    this.size.classList.toggle("ad-unseen", tool !== "brush" && tool !== "erase");
  }

  setSizes(largest, size) {
    this.slider.max = largest;
    this.slider.value = size;
  }

  enable({ canUndo, undone }, picture) {
    this.undo.disabled = !canUndo;
    this.redo.disabled = !undone.length;
    this.clear.disabled = !picture;
  }
}

// The Teleporter's panel: Generate, its settings, and what it made.
import {
  button, downloads, element, fileButton, heard, keepKeys, messageLine, roving, scoped, tooLarge,
  underway, upload,
} from "../elements.js";
import { comparison, gallery, strip } from "./result.js";
import { chosenSettings, keepSettings, settings } from "./settings.js";

function tell(model, text) {
  model.set("message", text);
  model.save_changes();
}

// a button that asks Python for something, with the settings of that moment: a front end holds
// changes back while the kernel is busy, but not messages; what was said before is over
function asking(model, send, text, what, properties = {}) {
  return button(text, async () => {
    await Promise.allSettled(underway());
    tell(model, "");
    send({ do: what, settings: chosenSettings(model) });
  }, properties);
}

// Generate, Cancel and progress, following the model; below, one place for all that is said
function work(model, send, root) {
  const generate = asking(model, send, "Generate", "generate", { className: "ad-main" });
  const cancel = asking(model, send, "Cancel", "cancel");
  const bar = element("progress", { max: 1, "aria-label": "Progress" });
  const status = element("div", { role: "status" });
  function show() {
    cancel.disabled = !model.get("busy");
    bar.value = model.get("progress");
    bar.classList.toggle("ad-unseen", !model.get("busy"));
    status.textContent = model.get("status");
    root.dataset.finished = model.get("finished");
    root.dataset.busy = model.get("busy");
  }
  for (const name of ["busy", "progress", "status", "finished"]) model.on(`change:${name}`, show);
  show();
  const row = element("div", { className: "ad-row" }, generate, cancel, bar);
  const said = element("div", { className: "ad-said" }, status);
  messageLine(model, said);
  return element("div", {}, row, said);
}

// what can be done with a result, and the way back from its recipe
function keeping(model, send) {
  const download = asking(model, send, "Download", "download", {
    title: "The chosen picture, full size, as a PNG file with its recipe inside",
  });
  const save = asking(model, send, "Save to folder", "save", {
    title: "The same beside your notebook, in the folder anydoor_results unless told otherwise",
  });
  const open = fileButton("Open recipe…", ".png,.json,image/png,application/json", async (file) => {
    tell(model, tooLarge(file));
    if (!tooLarge(file)) await upload(send, { do: "recipe" }, file);
  });
  open.title = "A picture downloaded or saved here: its pictures, marks and settings come back";
  const show = () => { download.disabled = save.disabled = model.get("shown") < 0; };
  model.on("change:shown", show);
  show();
  downloads(model);
  const own = { className: "ad-row", role: "toolbar", "aria-label": "Keep" };
  return roving(element("div", own, download, save, open));
}

export default {
  render({ model: shared, el }) {
    const model = scoped(shared), send = heard(model);
    const root = element("div", { className: "ad ad-panel" });
    const controls = element("div", { className: "ad-ask" });
    controls.append(work(model, send, root), settings(model));
    const result = element("div", { className: "ad-result" });
    result.append(comparison(model), gallery(model), keeping(model, send), strip(model));
    root.append(controls, result);
    keepKeys(root);
    el.append(root);
    const free = keepSettings(model);
    return () => { free(); model.release(); };
  },
};

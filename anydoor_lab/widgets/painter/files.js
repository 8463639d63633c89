// Pictures and masks that come in by a button, a drop or a paste; examples by a click.
import { button, element, fileButton, roving, tooLarge, upload, urls } from "../elements.js";

// the row of buttons and examples above a picture; what they ask for goes to `painter`
export function sources(painter) {
  const { model } = painter, url = urls();
  const open = fileButton("Open…", "image/*", (file) => painter.open(file));
  const mask = fileButton("Mask…", "image/*", (file) => painter.open(file, "mask"));
  open.title = "A picture of yours; or drop it on the picture below, or paste it (Ctrl+V)";
  mask.title = "What is marked, as a picture of its own: white (or opaque) is marked";
  const row = element("div", {
    className: "ad-row ad-sources", role: "toolbar", "aria-label": "Pictures",
  }, open, mask);
  function show() {
    const fresh = model.get("_examples").map(({ name, number, picture }) => {
      const image = element("img", { alt: "", src: url(name, picture) });
      const title = `Example: ${name}`, own = { title, "aria-label": title };
      return button(image, () => painter.example(number), { ...own, className: "ad-example" });
    });
    row.replaceChildren(open, mask, ...fresh);
  }
  model.on("change:_examples", show);
  show();
  return roving(row);
}

// the first file of a drop or a paste; undefined where there is none
const fileOf = (data) => [...(data ? data.files : [])][0];

// files dropped on the painter, and pasted while the pointer or the focus is in it
export function listenToFiles(painter) {
  const { root } = painter;
  const over = (on) => root.classList.toggle("ad-over", on);
  root.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
    over(true);
  });
  root.addEventListener("dragleave", () => over(false));
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    over(false);
    const file = fileOf(event.dataTransfer);
    if (file) painter.open(file);
    else painter.tell("What was dropped is no file; drop a picture from your disk.");
  });
  function paste(event) {
    const file = fileOf(event.clipboardData);
    if (!file || !(root.matches(":hover") || root.contains(document.activeElement))) return;
    event.preventDefault();
    painter.open(file);
  }
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}

// send a file as a picture or a mask; the message says why not
export async function sendFile(painter, file, kind) {
  const refused = tooLarge(file);
  painter.tell(refused);
  if (refused) return;
  painter.busy(`Opening ${file.name}…`);
  await upload(painter.heard, { do: kind }, file);
}

// Cut an object out of its picture; below it, what the model will be shown.
import { element, scoped, urls } from "../elements.js";
import { painter } from "../painter/painter.js";

const TOOLS_TO_CUT = ["box", "object", "ground", "brush", "erase", "polygon", "pan"];
const PREVIEWS = [
  ["_id_image", "id_image: the object"],
  ["_detail_map", "HF map: for the details"],
];

function preview(model, url, name, text) {
  const image = element("img", { alt: text });
  const figure = element("figure", {}, image, element("figcaption", {}, text));
  const show = () => {
    image.src = url(name, model.get(name));
    figure.classList.toggle("ad-unseen", !image.getAttribute("src"));
  };
  model.on(`change:${name}`, show);
  show();
  return figure;
}

export default {
  render({ model: shared, el }) {
    const release = painter(shared, el, { tools: TOOLS_TO_CUT, prompting: true });
    const model = scoped(shared), url = urls(), root = el.querySelector(".ad-painter");
    const previews = PREVIEWS.map(([name, text]) => preview(model, url, name, text));
    root.append(element("div", { className: "ad-previews" }, ...previews));
    return () => { release(); model.release(); };
  },
};

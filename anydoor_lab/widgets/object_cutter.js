export default {
  render({ model: shared, el }) {
    const tools = ["box", "object", "ground", "brush", "erase", "polygon", "pan"];
    const release = painter(shared, el, { tools, prompting: true });
    const model = scoped(shared), url = urls();
    const row = element("div", { className: "ad-previews" });
    for (const [name, text] of [["_id_image", "id_image: the object"], ["_detail_map", "HF map: for the details"]]) {
      const image = element("img", { alt: text });
      const figure = element("figure", {}, image, element("figcaption", {}, text));
      const show = () => {
        image.src = url(name, model.get(name));
        figure.classList.toggle("ad-hidden", !image.getAttribute("src"));
      };
      model.on(`change:${name}`, show);
      show();
      row.append(figure);
    }
    el.querySelector(".ad-painter").append(row);
    const busy = (content) => { if (content.done) el.querySelector(".ad-busy")?.classList.remove("ad-busy"); };
    shared.on("msg:custom", busy);
    return () => { release(); model.release(); shared.off("msg:custom", busy); };
  },
};

export default {
  render({ model: shared, el }) {
    const model = scoped(shared), url = urls();
    const root = element("div", { className: "ad ad-panel" });
    const controls = element("div", { className: "ad-controls", role: "group", "aria-label": "Settings" });
    const set = (name, value) => { model.set(name, value); model.save_changes(); };
    function field(text, input, name, read) {
      const show = () => { input.value = model.get(name); };
      input.addEventListener("change", () => set(name, read(input.value)));
      input.dataset.setting = name;
      model.on(`change:${name}`, show);
      show();
      controls.append(element("label", { className: "ad-field" }, text, input));
    }
    const ranges = model.get("_ranges"), choices = model.get("_choices");
    const NUMBERS = [["steps", "Steps", 1], ["guidance", "Guidance", 0.5], ["seed", "Seed", 1], ["proposals", "Proposals", 1]];
    for (const [name, text, step] of NUMBERS) {
      const [min, max] = ranges[name];
      const input = element("input", { type: "number", min, max, step });
      input.style.width = "76px";
      field(text, input, name, (typed) => {
        const value = Math.min(max, Math.max(min, Number(typed) || min));
        return name === "guidance" ? value : Math.round(value);
      });
    }
    const CHOICES = [["idx", "ID extractor"], ["collage", "Collage"], ["shape", "Region's shape"], ["blend", "Paste back"]];
    for (const [name, text] of CHOICES) {
      const options = choices[name].map((own) => element("option", { value: own }, own));
      field(text, element("select", {}, ...options), name, String);
    }

    const row = element("div", { className: "ad-row" });
    function button(text, act, className = "") {
      const made = element("button", { type: "button", className }, text);
      made.addEventListener("click", act);
      row.append(made);
      return made;
    }
    button("Generate", () => model.send({ do: "generate" }), "ad-main");
    const cancel = button("Cancel", () => model.send({ do: "cancel" }));
    const bar = element("progress", { max: 1, "aria-label": "Progress" });
    const status = element("span", { role: "status" });
    const gallery = element("div", { className: "ad-gallery", role: "group", "aria-label": "Proposals" });

    const before = element("img", { alt: "The scene" }), after = element("img", { alt: "The scene with the object" });
    const edge = element("div", { className: "ad-edge" });
    const compare = element("div", { className: "ad-compare" }, before, after, edge);
    const slider = element("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Before and after" });
    slider.style.width = "130px";
    const slide = () => {
      after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
      edge.style.left = `${slider.value}%`;
    };
    slider.addEventListener("input", slide);
    const save = element("button", { type: "button" }, "Save picture and recipe");
    save.addEventListener("click", () => model.send({ do: "save" }));
    const open = fileButton("Open recipe…", ".json,application/json", async (file) => {
      if (file.size > UPLOAD_LIMIT) return set("message", `${file.name} is larger than 9 MB; open it by its path`);
      return model.send({ do: "open" }, undefined, [await file.arrayBuffer()]);
    });
    const after_row = element("div", { className: "ad-row" }, element("label", { className: "ad-field" }, "Before", slider, "After"), save);
    row.append(open, bar, status);
    root.append(controls, row);
    messageLine(model, root);
    const shown = element("div", { className: "ad-shown" }, after_row, compare);
    root.append(element("div", { className: "ad-result" }, gallery, shown));

    function work() {
      cancel.disabled = !model.get("busy");
      bar.value = model.get("progress");
      bar.classList.toggle("ad-hidden", !model.get("busy"));
      status.textContent = model.get("status");
      root.dataset.finished = model.get("finished");
      root.dataset.busy = model.get("busy");
    }
    function thumbnails() {
      const images = model.get("_gallery");
      while (gallery.children.length > images.length) gallery.lastChild.remove();
      images.forEach((bytes, k) => {
        if (!gallery.children[k]) {
          const made = element("button", { type: "button", title: `Proposal ${k + 1}` }, element("img", { alt: `Proposal ${k + 1}` }));
          made.addEventListener("click", () => set("chosen", k));
          gallery.append(made);
        }
        gallery.children[k].firstChild.src = url(`thumb${k}`, bytes);
      });
      mark();
    }
    const mark = () => [...gallery.children].forEach((one, k) => one.setAttribute("aria-pressed", k === model.get("chosen")));
    function pictures() {
      before.src = url("before", model.get("_before"));
      after.src = url("after", model.get("_after"));
      const there = Boolean(before.getAttribute("src"));
      shown.classList.toggle("ad-hidden", !there);
      slide();
    }
    before.addEventListener("load", () => {
      const { naturalWidth: width, naturalHeight: height } = before;
      shown.style.width = `min(100%, ${Math.max(380, Math.round((460 * width) / height))}px)`;
    });
    for (const name of ["busy", "progress", "status", "finished"]) model.on(`change:${name}`, work);
    model.on("change:_gallery", thumbnails);
    model.on("change:chosen", mark);
    for (const name of ["_before", "_after"]) model.on(`change:${name}`, pictures);
    work();
    thumbnails();
    pictures();
    keepKeys(root);
    el.append(root);
    return () => model.release();
  },
};

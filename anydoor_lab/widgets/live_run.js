const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];

const STOP = "Stop and save a checkpoint";

function short(value) {
  if (value >= 10000) return `${short(value / 1000)}k`;
  return Number(value.toPrecision(3)).toString();
}

// about four round numbers from low to high: 1, 2 or 5 times a power of ten
function ticks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k += 1) found.push(k * step);
  return found;
}

// the same for a logarithmic axis, as long as it holds at least two such numbers
function logTicks(low, high) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    found.push(...[1, 2, 5].map((factor) => factor * power).filter((y) => y >= low && y <= high));
  }
  return found.length > 1 ? found : ticks(low, high);
}

// lines in an SVG: {name: [[x, y], ...]}, y on a logarithmic axis where `log`
function plot(title, series, log) {
  const W = 420, H = 232, L = 48, R = 10, T = 10, B = 36;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  attributes(svg, { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title });
  const figure = element("figure", {}, element("figcaption", {}, title), svg);
  const named = Object.entries(series || {})
    .map(([name, points]) => [name, points.filter(([, y]) => !log || y > 0)])
    .filter(([, points]) => points.length);
  const all = named.flatMap(([, points]) => points);
  if (!all.length) return figure;
  const scale = log ? Math.log10 : (value) => value;
  const xs = all.map(([x]) => x), ys = all.map(([, y]) => scale(y));
  const low = log ? Math.min(...ys) : 0, x1 = Math.min(...xs);
  const high = Math.max(...ys, low + 0.02), x2 = Math.max(...xs, x1 + 1);
  const px = (x) => L + ((x - x1) / (x2 - x1)) * (W - L - R);
  const py = (y) => H - B - ((y - low) / (high - low)) * (H - T - B);
  for (const y of log ? logTicks(10 ** low, 10 ** high) : ticks(low, high)) {
    const at = py(scale(y)), left = shape("text", svg);
    attributes(shape("path", svg), { d: `M${L} ${at}H${W - R}`, stroke: "#ddd" });
    attributes(left, { x: L - 5, y: at + 4, "text-anchor": "end" });
    left.textContent = short(y);
  }
  for (const x of ticks(x1, x2)) {
    const below = shape("text", svg);
    attributes(below, { x: px(x), y: H - B + 16, "text-anchor": px(x) > W - 30 ? "end" : "middle" });
    below.textContent = short(x);
  }
  const label = shape("text", svg);
  attributes(label, { x: (L + W - R) / 2, y: H - 4, "text-anchor": "middle" });
  label.textContent = "samples seen";
  const legend = element("div", { className: "ad-legend" });
  named.forEach(([name, points], k) => {
    const colour = COLOURS[k % COLOURS.length];
    const line = points.map(([x, y]) => `${px(x).toFixed(1)},${py(scale(y)).toFixed(1)}`).join(" ");
    attributes(shape("polyline", svg), { points: line, fill: "none", stroke: colour, "stroke-width": 1.6 });
    const [x, y] = points[points.length - 1];
    attributes(shape("circle", svg), { cx: px(x), cy: py(scale(y)), r: 2.5, fill: colour });
    const key = element("i");
    key.style.background = colour;
    legend.append(element("span", {}, key, name));
  });
  if (named.length > 1) figure.append(legend);
  return figure;
}

export default {
  render({ model: shared, el }) {
    const model = scoped(shared), url = urls();
    const root = element("div", { className: "ad ad-live" });
    const row = element("div", { className: "ad-row" });
    const status = element("span", { role: "status" });
    const stop = element("button", { type: "button" }, STOP);
    stop.title = "While a cell runs, interrupt the kernel instead";
    stop.addEventListener("click", () => {
      stop.disabled = true;
      stop.textContent = "Stopping; interrupt the kernel (■) if a cell is waiting";
      model.send({ do: "stop" });
    });
    const plots = element("div", { className: "ad-plots" }), sheets = element("div");
    row.append(stop, status);
    root.append(element("p", { className: "ad-head" }, model.get("folder")), row);
    messageLine(model, root);
    root.append(plots, sheets);
    function tell() {
      status.textContent = model.get("status");
      stop.classList.toggle("ad-hidden", !model.get("training"));
      if (!model.get("training")) {
        stop.disabled = false;
        stop.textContent = STOP;
      }
      root.dataset.training = model.get("training");
    }
    function draw() {
      const series = model.get("_series");
      plots.replaceChildren(
        plot("Loss", series.loss, true),
        plot("Loss by timestep t", series.bins, true),
        plot("Samples per second", series.speed, false),
      );
    }
    function show() {
      sheets.replaceChildren(...model.get("_sheets").map(({ name, png }, k) => {
        const image = element("img", { className: "ad-sheet", alt: name, src: url(`sheet${k}`, png) });
        return element("figure", {}, element("figcaption", {}, name), image);
      }));
    }
    for (const name of ["status", "training"]) model.on(`change:${name}`, tell);
    model.on("change:_series", draw);
    model.on("change:_sheets", show);
    tell();
    draw();
    show();
    el.append(root);
    return () => model.release();
  },
};

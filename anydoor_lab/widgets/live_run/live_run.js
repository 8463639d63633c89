// Curves and samples of a training as it goes.
import { button, drawn, element, messageLine, scoped, urls } from "../elements.js";
import { laidOut } from "./chart.js";

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
const STOP = "Stop and save a checkpoint";
const WIDTH = 420, HEIGHT = 232;
const FRAME = { left: 48, right: WIDTH - 10, top: 10, bottom: HEIGHT - 36 };

// a figure of lines: {name: [[x, y], ...]}, y on a logarithmic axis where `log`
function plot(title, series, log) {
  const own = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title };
  const chart = laidOut(series, log, FRAME);
  const svg = drawn("svg", own, ...(chart ? marks(chart) : []));
  const figure = element("figure", {}, element("figcaption", {}, title), svg);
  if (chart && chart.lines.length > 1) figure.append(legend(chart.lines));
  return figure;
}

function marks({ lines, rows, columns }) {
  const { left, right, bottom } = FRAME;
  const text = (x, y, anchor, words) => drawn("text", { x, y, "text-anchor": anchor }, words);
  return [
    ...rows.flatMap(([at, label]) => [
      text(left - 5, at + 4, "end", label),
      drawn("path", { d: `M${left} ${at}H${right}`, stroke: "#ddd" }),
    ]),
    ...columns.map(([at, label]) => (
      text(at, bottom + 16, at > WIDTH - 30 ? "end" : "middle", label)
    )),
    text((left + right) / 2, HEIGHT - 4, "middle", "samples seen"),
    ...lines.flatMap(([, points], k) => line(points, colourOf(k))),
  ];
}

const colourOf = (k) => COLOURS[k % COLOURS.length];

function line(places, stroke) {
  const [cx, cy] = places.at(-1);
  const points = places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return [
    drawn("polyline", { points, fill: "none", stroke, "stroke-width": 1.6 }),
    drawn("circle", { cx, cy, r: 2.5, fill: stroke }),
  ];
}

function legend(lines) {
  const entries = lines.map(([name], k) => {
    const key = element("i");
    key.style.background = colourOf(k);
    return element("span", {}, key, name);
  });
  return element("div", { className: "ad-legend" }, ...entries);
}

function stopButton(model) {
  const stop = button(STOP, () => {
    stop.disabled = true;
    stop.textContent = "Stopping; interrupt the kernel (■) if a cell is waiting";
    model.send({ do: "stop" });
  }, { title: "While a cell runs, interrupt the kernel instead" });
  return stop;
}

// a row with the Stop button and the status, following the model
function controls(model, root) {
  const status = element("span", { role: "status" }), stop = stopButton(model);
  function tell() {
    status.textContent = model.get("status");
    stop.classList.toggle("ad-hidden", !model.get("training"));
    if (!model.get("training")) {
      stop.disabled = false;
      stop.textContent = STOP;
    }
    root.dataset.training = model.get("training");
  }
  for (const name of ["status", "training"]) model.on(`change:${name}`, tell);
  tell();
  return element("div", { className: "ad-row" }, stop, status);
}

function curves(model) {
  const plots = element("div", { className: "ad-plots" });
  function draw() {
    const { loss, bins, speed } = model.get("_series");
    plots.replaceChildren(
      plot("Loss", loss, true),
      plot("Loss by timestep t", bins, true),
      plot("Samples per second", speed, false),
    );
  }
  model.on("change:_series", draw);
  draw();
  return plots;
}

function samples(model) {
  const sheets = element("div"), url = urls();
  function show() {
    sheets.replaceChildren(...model.get("_sheets").map(({ name, png }, k) => {
      const own = { className: "ad-sheet", alt: name, src: url(`sheet${k}`, png) };
      return element("figure", {}, element("figcaption", {}, name), element("img", own));
    }));
  }
  model.on("change:_sheets", show);
  show();
  return sheets;
}

export default {
  render({ model: shared, el }) {
    const model = scoped(shared);
    const root = element("div", { className: "ad ad-live" });
    const head = element("p", { className: "ad-head" }, model.get("folder"));
    root.append(head, controls(model, root));
    messageLine(model, root, "What the run wrote is on the disk: run this cell again to see it.");
    root.append(curves(model), samples(model));
    el.append(root);
    return () => model.release();
  },
};

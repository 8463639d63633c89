// The Teleporter's settings: fields that show what is true, and say why where it is not as typed.
import { element, kept, left, ownName } from "../elements.js";

// name of the setting: its label, step of its arrows, what it does in plain words
export const NUMBERS = {
  steps: ["Steps", 1, "In how many steps noise becomes a picture: more is slower, above 50 hardly "
    + "better"],
  guidance: ["Guidance", 0.5, "How strictly the object is followed: 1 is loose, high values look "
    + "overdone"],
  seed: ["Seed", 1, "The number the noise is drawn from: the same seed gives the same picture"],
  proposals: ["Proposals", 1, "How many pictures are made at once, each from the next seed"],
};
export const CHOICES = {
  idx: ["ID extractor", "The network that looks at the object and tells what it is; the paper "
    + "takes dinov2"],
  collage: ["Collage", "What is shown of the object in its new place: hf its fine lines and "
    + "letters only (high-frequency map), original all of it, none nothing"],
  shape: ["Region shape", "How the network is told where the object goes: by the box around your "
    + "region, or by its outline (mask)"],
  blend: ["Paste back", "What of the made picture replaces the scene: the box around your region, "
    + "only what you marked (mask), or all of the crop around it"],
};

// what a field becomes when this was typed, and a sentence where that is something else
export function typedNumber(name, typed, [low, high], old) {
  const [text] = NUMBERS[name], given = String(typed).trim(), number = Number(given);
  if (!given || !Number.isFinite(number)) {
    return { value: old, said: `${text} needs a number; it stays ${old}.` };
  }
  const inside = Math.min(high, Math.max(low, number));
  const value = name === "guidance" ? inside : Math.round(inside);
  if (inside !== number) {
    return { value, said: `${text} goes from ${low} to ${high}: ${given} became ${value}.` };
  }
  return { value, said: value === number ? "" : `${text} is whole: ${given} became ${value}.` };
}

// a labelled input that follows its setting, and sets it
function field(model, [text, title], input, name, read) {
  const show = () => { input.value = model.get(name); };
  input.addEventListener("change", () => {
    const { value, said } = read(input.value);
    model.set(name, value);
    model.set("message", said);
    model.save_changes();
    show();
  });
  input.dataset.setting = name;
  model.on(`change:${name}`, show);
  show();
  return element("label", { className: "ad-field", title }, element("span", {}, text), input);
}

export function settings(model) {
  const ranges = model.get("_ranges"), choices = model.get("_choices");
  const numbers = Object.entries(NUMBERS).map(([name, [text, step, title]]) => {
    const [min, max] = ranges[name];
    const input = element("input", { type: "number", min, max, step });
    const read = (typed) => typedNumber(name, typed, ranges[name], model.get(name));
    return field(model, [text, title], input, name, read);
  });
  const selects = Object.entries(CHOICES).map(([name, words]) => {
    const options = choices[name].map((own) => element("option", { value: own }, own));
    const input = element("select", {}, ...options);
    return field(model, words, input, name, (value) => ({ value, said: "" }));
  });
  const own = { className: "ad-controls", role: "group", "aria-label": "Settings" };
  return element("div", own, ...numbers, ...selects);
}

// all settings by name, as they stand
export function chosenSettings(model) {
  const names = [...Object.keys(NUMBERS), ...Object.keys(CHOICES)];
  return Object.fromEntries(names.map((own) => [own, model.get(own)]));
}

// let the page keep the settings; those of a kernel that went away come back. Returns what frees
// the view's name.
export function keepSettings(model) {
  const names = Object.keys(chosenSettings(model));
  const [name, free] = ownName(model.get("_name")), session = model.get("_session");
  const before = left(kept(), name, session);
  const keep = () => { kept().set(name, { session, values: chosenSettings(model) }); };
  for (const own of names) model.on(`change:${own}`, keep);
  const changed = names.filter((own) => before && before.values[own] !== model.get(own));
  if (!changed.length) return free;
  for (const own of changed) model.set(own, before.values[own]);
  model.set("message", "The settings from before the kernel went away are back.");
  model.save_changes();
  return free;
}

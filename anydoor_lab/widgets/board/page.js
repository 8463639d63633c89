// A saved board in a page of its own: the board's view over a model that does not change by itself.
import { render } from "./cells.js";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// a model with what Python kept; a wish for pictures is answered at once
export function still({ traits, pictures }) {
  const handlers = new Map();
  const tell = (name, ...all) => (handlers.get(name) || []).forEach((handler) => handler(...all));
  return {
    get: (name) => traits[name],
    set(name, value) { traits[name] = value; tell(`change:${name}`); },
    save_changes() {},
    send({ cells, key: asked }) {
      const wanted = (key) => cells === null || cells.includes(Number(key.split(":")[1]));
      for (const [key, text] of Object.entries(pictures)) {
        if (wanted(key)) tell("msg:custom", { key }, [bytesOf(text)]);
      }
      if (asked) tell("msg:custom", { heard: asked }, []);
    },
    on(name, handler) { handlers.set(name, [...(handlers.get(name) || []), handler]); },
    off() {},
  };
}

if (typeof document !== "undefined" && document.getElementById("ad-board-data")) {
  const kept = JSON.parse(document.getElementById("ad-board-data").textContent);
  render({ model: still(kept), el: document.getElementById("ad-board") });
}

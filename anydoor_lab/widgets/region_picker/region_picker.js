// Mark a region of a scene.
import { painter } from "../painter/painter.js";

export default {
  render({ model, el }) {
    return painter(model, el, { tools: ["box", "brush", "erase", "polygon", "pan"] });
  },
};

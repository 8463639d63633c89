export default {
  render({ model, el }) {
    return painter(model, el, { tools: ["box", "brush", "erase", "polygon", "pan"] });
  },
};

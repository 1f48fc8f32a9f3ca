/**
 * The canvas of diffprior.widget. The functions of the page stand above it in one module:
 * rasterize, apply, brushFrom and whole.
 *
 * A model keeps what was painted as steps, and the mask as bits. All views of it show the same.
 */

const TINT = [214, 36, 110];
const INSIDE = 140; // opacity of the tint, of 255
const LEAST_WIDTH = 320; // CSS pixels; a smaller image is shown enlarged

/** The bytes of a mask: eight pixels each, the first one in the highest bit. */
function packed(mask) {
  const bits = new Uint8Array(Math.ceil(mask.length / 8));
  for (let k = 0; k < mask.length; k++) if (mask[k] > 127) bits[k >> 3] |= 128 >> (k & 7);
  return bits;
}

function unpacked(view, length) {
  const mask = new Uint8Array(length);
  const bits = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  for (let k = 0; k < length; k++) if (bits[k >> 3] & (128 >> (k & 7))) mask[k] = 255;
  return mask;
}

/** What is painted of one image, at its own size and at that of the view. */
class Painting {
  constructor(model) {
    this.model = model;
    this.undone = [];
    const [width, height] = [model.get("width"), model.get("height")];
    this.window = whole(width, height);
    const data = unpacked(model.get("start"), width * height);
    this.first = { kind: "bitmap", blob: "start", erase: false };
    this.bitmaps = new Map([["start", [{ data, width, height }]]]);
  }

  get steps() {
    return this.model.get("steps");
  }

  /** The mask in a window of the image. */
  pixels(window) {
    return rasterize([this.first, ...this.steps], window, this.bitmaps);
  }

  push(step) {
    this.undone = [];
    this.#save([...this.steps, step]);
  }

  undo() {
    if (!this.steps.length) return;
    this.undone.push(this.steps.at(-1));
    this.#save(this.steps.slice(0, -1));
  }

  redo() {
    if (this.undone.length) this.#save([...this.steps, this.undone.pop()]);
  }

  #save(steps) {
    this.model.set("steps", steps);
    this.model.set("bits", new DataView(packed(this.pixels(this.window)).buffer));
    this.model.save_changes();
  }
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The tools above the image. */
class Bar {
  constructor(painting, change) {
    this.painting = painting;
    this.erases = false;
    const button = (text, title, act) => {
      const made = element("button", { type: "button", title }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.brush = button("Brush", "Paint the mask", () => this.choose(false));
    this.eraser = button("Eraser", "Take paint away", () => this.choose(true));
    this.size = element("input", { type: "range", min: 0, max: 100, value: 50 });
    this.size.addEventListener("input", change);
    this.undo = button("Undo", "Undo (Ctrl+Z)", () => painting.undo());
    this.redo = button("Redo", "Redo (Ctrl+Shift+Z)", () => painting.redo());
    const invert = button("Invert", "Paint the rest", () => painting.push({ kind: "invert" }));
    const clear = button("Clear", "Take all paint away", () => painting.push({ kind: "clear" }));
    this.share = element("span", { class: "share", role: "status" });
    this.root = element("div", { class: "bar", role: "toolbar", "aria-label": "Tools of the mask" });
    this.root.append(this.brush, this.eraser, element("label", {}, "Size", this.size));
    this.root.append(this.undo, this.redo, invert, clear, this.share);
    this.choose(false);
  }

  choose(erases) {
    this.erases = erases;
    this.brush.setAttribute("aria-pressed", !erases);
    this.eraser.setAttribute("aria-pressed", erases);
  }

  /** The radius of the brush in pixels of the image: from half a pixel to a quarter of its side. */
  get radius() {
    const { width, height } = this.painting.window;
    const most = Math.max(2, Math.max(width, height) / 4);
    return 0.5 * (most / 0.5) ** (this.size.value / 100);
  }

  resize(by) {
    this.size.value = Number(this.size.value) + by;
    this.size.dispatchEvent(new Event("input"));
  }

  show(mask) {
    const painted = mask.reduce((sum, value) => sum + (value > 127), 0);
    this.share.textContent = `${((100 * painted) / mask.length).toFixed(1)}% painted`;
    this.undo.disabled = !this.painting.steps.length;
    this.redo.disabled = !this.painting.undone.length;
  }
}

function render({ model, el }) {
  const painting = new Painting(model);
  const bar = new Bar(painting, () => ring());
  const [width, height] = [model.get("width"), model.get("height")];
  const image = element("img", { alt: "The image to paint on", src: model.get("picture") });
  const canvas = element("canvas", { tabindex: 0, role: "img", "aria-label": "The mask" });
  const circle = element("div", { class: "brush", hidden: "" });
  const stage = element("div", { class: "stage" }, image, canvas, circle);
  const root = element("div", { class: "diffprior-canvas", "data-lm-suppress-shortcuts": "true" });
  root.append(bar.root, stage);
  el.append(root);

  let view = null; // the window that is shown: all of the image, reduced
  let mask = null;
  let stroke = null;

  function redraw() {
    if (!image.naturalWidth) return;
    if (image.naturalWidth < LEAST_WIDTH) image.style.width = `${LEAST_WIDTH}px`;
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const scale = canvas.width / width;
    view = { left: 0, top: 0, scale, width: canvas.width, height: canvas.height };
    mask = painting.pixels(view);
    tint();
  }

  function tint() {
    const pixels = new ImageData(canvas.width, canvas.height);
    for (let k = 0, i = 0; k < mask.length; k++, i += 4) {
      if (!mask[k]) continue;
      [pixels.data[i], pixels.data[i + 1], pixels.data[i + 2]] = TINT;
      pixels.data[i + 3] = INSIDE;
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    bar.show(mask);
  }

  /** Where a pointer is, in pixels of the image. */
  function at(event) {
    const box = canvas.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    return [across * width, ((event.clientY - box.top) / box.height) * height];
  }

  let last = null;
  function ring(event = last) {
    last = event;
    if (!event) return;
    const box = canvas.getBoundingClientRect();
    const side = Math.max(4, (2 * bar.radius * box.width) / width);
    Object.assign(circle.style, {
      left: `${event.clientX - box.left}px`,
      top: `${event.clientY - box.top}px`,
      width: `${side}px`,
      height: `${side}px`,
    });
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !view) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    stroke = { kind: "brush", erase: bar.erases, soft: 0, points: [[...at(event), bar.radius]] };
    brushFrom(mask, stroke, 0, view);
    tint();
  });
  canvas.addEventListener("pointermove", (event) => {
    circle.hidden = false;
    ring(event);
    if (!stroke) return;
    stroke.points.push([...at(event), bar.radius]);
    brushFrom(mask, stroke, stroke.points.length - 1, view);
    tint();
  });
  const finish = () => {
    if (!stroke) return;
    const step = stroke;
    stroke = null;
    painting.push(step);
  };
  canvas.addEventListener("pointerup", finish);
  canvas.addEventListener("pointercancel", finish);
  canvas.addEventListener("pointerleave", () => (circle.hidden = true));
  root.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && key === "z") {
      if (event.shiftKey) painting.redo();
      else painting.undo();
    } else if (key === "[") bar.resize(-5);
    else if (key === "]") bar.resize(5);
    else if (key === "b") bar.choose(false);
    else if (key === "e") bar.choose(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  model.on("change:steps", redraw);
  image.addEventListener("load", redraw);
  redraw();
  return () => model.off("change:steps", redraw);
}

export default { render };

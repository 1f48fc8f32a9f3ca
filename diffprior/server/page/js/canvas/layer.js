/** The mask as a tint over the part of the image in sight, no finer than its own pixels. */

import { decode } from "../mask/bitmaps.js";
import { apply, brushFrom, rasterize } from "../mask/raster.js";
import { living, reach } from "../mask/shapes.js";

const INSIDE = 0.42; // opacity of the tint
const EDGE = 0.95; // and of its outline

export class Layer {
  constructor(view) {
    this.view = view;
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d");
    this.bitmaps = new Map();
    this.color = [214, 36, 110];
    this.window = null;
  }

  /** Draw a list of steps for the present view. */
  redraw(steps) {
    this.window = this.#window(steps);
    const { width, height } = this.window;
    this.mask = rasterize(steps, this.window, this.bitmaps);
    this.canvas.width = Math.max(1, width);
    this.canvas.height = Math.max(1, height);
    this.#tint(0, 0, width, height);
  }

  /** Draw the points of a stroke from the one numbered `start` on. */
  extend(stroke, start) {
    if (!this.window) return;
    brushFrom(this.mask, stroke, start, this.window);
    const { left, top, scale, width, height } = this.window;
    const fresh = stroke.points.slice(Math.max(0, start - 1));
    const room = Math.max(...fresh.map((point) => point[2])) + stroke.soft + 2 / scale;
    const xs = fresh.map((point) => (point[0] - left) * scale);
    const ys = fresh.map((point) => (point[1] - top) * scale);
    const x0 = Math.max(0, Math.floor(Math.min(...xs) - room * scale));
    const y0 = Math.max(0, Math.floor(Math.min(...ys) - room * scale));
    const x1 = Math.min(width, Math.ceil(Math.max(...xs) + room * scale));
    const y1 = Math.min(height, Math.ceil(Math.max(...ys) + room * scale));
    this.#tint(x0, y0, x1, y1);
  }

  /** Draw one more step on top. */
  add(step) {
    if (!this.window) return;
    apply(this.mask, step, this.window, this.bitmaps);
    this.#tint(0, 0, this.window.width, this.window.height);
  }

  /** Decode the mask files of some steps, so that they can be drawn; returns whether any was new. */
  async load(steps, width, height) {
    const fresh = living(steps).filter((s) => s.kind === "bitmap" && !this.bitmaps.has(s.blob));
    for (const { blob } of fresh) this.bitmaps.set(blob, await decode(blob, width, height));
    return fresh.length > 0;
  }

  /** Paint the tint onto a context whose units are CSS pixels of the view. */
  paint(context) {
    if (!this.window?.width || !this.window.height) return;
    this.#place(context, this.canvas);
  }

  /** Paint the mask itself, opaque where it is white. */
  paintSolid(context) {
    if (!this.window?.width || !this.window.height) return;
    const { width, height } = this.window;
    const solid = new OffscreenCanvas(width, height);
    const pixels = new ImageData(width, height);
    for (let k = 0; k < this.mask.length; k++) pixels.data[4 * k + 3] = this.mask[k];
    solid.getContext("2d").putImageData(pixels, 0, 0);
    this.#place(context, solid);
  }

  #place(context, picture) {
    const { left, top, scale, width, height } = this.window;
    const [x, y] = this.view.toScreen(left, top);
    const ratio = this.view.scale / scale;
    context.drawImage(picture, x, y, width * ratio, height * ratio);
  }

  #window(steps) {
    const finest = Math.min(1, this.view.scale * Math.min(2, devicePixelRatio));
    const { left, top, right, bottom } = this.view.visible(reach(living(steps)) + 1);
    return {
      left,
      top,
      scale: finest,
      width: Math.max(0, Math.ceil((right - left) * finest)),
      height: Math.max(0, Math.ceil((bottom - top) * finest)),
    };
  }

  #tint(x0, y0, x1, y1) {
    if (x1 <= x0 || y1 <= y0) return;
    const { width, height } = this.window;
    const { mask } = this;
    const [red, green, blue] = this.color;
    const pixels = new ImageData(x1 - x0, y1 - y0);
    const { data } = pixels;
    for (let y = y0, i = 0; y < y1; y++) {
      for (let x = x0, k = y * width + x0; x < x1; x++, k++, i += 4) {
        const value = mask[k];
        if (!value) continue;
        data[i] = red;
        data[i + 1] = green;
        data[i + 2] = blue;
        data[i + 3] = value * (isEdge(mask, k, x, y, width, height) ? EDGE : INSIDE);
      }
    }
    this.context.putImageData(pixels, x0, y0);
  }
}

/** Whether a painted pixel has a neighbor that is not. */
function isEdge(mask, k, x, y, width, height) {
  if (mask[k] < 128) return false;
  return (
    (x > 0 && mask[k - 1] < 128) ||
    (x + 1 < width && mask[k + 1] < 128) ||
    (y > 0 && mask[k - width] < 128) ||
    (y + 1 < height && mask[k + width] < 128)
  );
}

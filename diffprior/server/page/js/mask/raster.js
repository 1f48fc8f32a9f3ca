/**
 * Steps to pixels: an own rasterizer, because a canvas smooths all edges and a mask must not.
 *
 * A hard shape gives 0 and 255 only: a pixel is painted if its center lies in the shape. A soft
 * edge falls off outside of the shape, over `soft` pixels of the image. The mask is one byte a
 * pixel, so 24 megapixels take 24 MB.
 *
 * A window says which part of the image is wanted: {left, top, scale, width, height}. The center
 * of its pixel (i, j) lies at (left + (i + 0.5) / scale, top + (j + 0.5) / scale) of the image.
 */

import { dilate, erode } from "./morphology.js";
import { living } from "./shapes.js";

/** The window that is the whole image, pixel by pixel. */
export function whole(width, height) {
  return { left: 0, top: 0, scale: 1, width, height };
}

/** The mask of some steps, width * height bytes. `bitmaps` maps a blob to its decoded pixels. */
export function rasterize(steps, window, bitmaps = new Map()) {
  const mask = new Uint8Array(window.width * window.height);
  for (const step of living(steps)) apply(mask, step, window, bitmaps);
  return mask;
}

/** Change a mask by one step. */
export function apply(mask, step, window, bitmaps = new Map()) {
  if (step.kind === "brush") brush(mask, step, window);
  else if (step.kind === "area") area(mask, step, window);
  else if (step.kind === "bitmap") bitmap(mask, bitmaps.get(step.blob), window);
  else if (step.kind === "invert") invert(mask);
  else if (step.kind === "clear") mask.fill(0);
  else if (step.by >= 0) dilate(mask, window.width, window.height, step.by * window.scale);
  else erode(mask, window.width, window.height, -step.by * window.scale);
}

/** A stroke: the union of a capsule for each of its segments. */
function brush(mask, { points, soft, erase }, window) {
  const put = erase ? lower : raise;
  const dots = points.map(([x, y, radius]) => [...inWindow(x, y, window), radius * window.scale]);
  const edge = soft * window.scale;
  dots.forEach((dot, i) => {
    const last = dots[i - 1] ?? dot;
    if (last[2] !== dot[2]) capsule(mask, window, dot, dot, dot[2], edge, put);
    capsule(mask, window, last, dot, Math.min(last[2], dot[2]), edge, put);
  });
}

/** The last segments of a stroke that is being painted. */
export function brushFrom(mask, step, start, window) {
  brush(mask, { ...step, points: step.points.slice(Math.max(0, start - 1)) }, window);
}

function area(mask, { points, soft, erase }, window) {
  const put = erase ? lower : raise;
  const corners = points.map(([x, y]) => inWindow(x, y, window));
  fillPolygon(mask, window, corners, erase ? 0 : 255);
  if (!soft) return;
  corners.forEach((corner, i) => {
    const next = corners[(i + 1) % corners.length];
    capsule(mask, window, corner, next, 0, soft * window.scale, put);
  });
}

/** A mask file of the image's size; `levels` are its maxima over blocks of 1, 2, 4, ... pixels. */
function bitmap(mask, levels, window) {
  if (!levels) return;
  const wanted = Math.floor(Math.log2(Math.max(1, 1 / window.scale)));
  const depth = Math.min(levels.length - 1, wanted);
  const { data, width, height } = levels[depth];
  const block = 2 ** depth;
  const column = (i) => Math.floor((window.left + (i + 0.5) / window.scale) / block);
  const columns = Int32Array.from({ length: window.width }, (_, i) => column(i));
  for (let j = 0, k = 0; j < window.height; j++) {
    const y = Math.floor((window.top + (j + 0.5) / window.scale) / block);
    if (y < 0 || y >= height) {
      k += window.width;
      continue;
    }
    for (let i = 0; i < window.width; i++, k++) {
      const x = columns[i];
      if (x >= 0 && x < width) mask[k] = Math.max(mask[k], data[y * width + x]);
    }
  }
}

function invert(mask) {
  for (let k = 0; k < mask.length; k++) mask[k] = 255 - mask[k];
}

function inWindow(x, y, { left, top, scale }) {
  return [(x - left) * scale, (y - top) * scale];
}

function raise(mask, k, value) {
  if (value > mask[k]) mask[k] = value;
}

function lower(mask, k, value) {
  if (255 - value < mask[k]) mask[k] = 255 - value;
}

/** All pixels within `radius` of the segment from a to b, and a slope of `edge` pixels around. */
function capsule(mask, { width, height }, a, b, radius, edge, put) {
  const full = put === raise ? 255 : 0;
  const outer = radius + edge;
  const first = Math.max(0, Math.ceil(Math.min(a[1], b[1]) - outer - 0.5));
  const last = Math.min(height - 1, Math.floor(Math.max(a[1], b[1]) + outer - 0.5));
  for (let row = first; row <= last; row++) {
    const wide = span(a, b, outer, row + 0.5);
    if (!wide) continue;
    const [from, to] = pixels(wide, width);
    const core = edge ? span(a, b, radius, row + 0.5) : wide;
    const [start, end] = core ? pixels(core, width) : [to + 1, to];
    const k = row * width;
    if (end >= start) mask.fill(full, k + start, k + end + 1);
    if (!edge) continue;
    for (let x = from; x <= to; x++) {
      if (x === start && end >= start) x = end + 1;
      if (x > to) break;
      const beyond = distance(x + 0.5, row + 0.5, a, b) - radius;
      if (beyond < edge) put(mask, k + x, Math.round(255 * (1 - Math.max(0, beyond) / edge)));
    }
  }
}

/** The first and the last pixel whose centers lie in a span. */
function pixels([from, to], width) {
  return [Math.max(0, Math.ceil(from - 0.5)), Math.min(width - 1, Math.floor(to - 0.5))];
}

/** Where a row at height y runs through a capsule: the hull of two discs and a rectangle. */
function span(a, b, radius, y) {
  let from = Infinity;
  let to = -Infinity;
  for (const [x, cy] of [a, b]) {
    const rest = radius * radius - (y - cy) ** 2;
    if (rest < 0) continue;
    from = Math.min(from, x - Math.sqrt(rest));
    to = Math.max(to, x + Math.sqrt(rest));
  }
  const band = alongside(a, b, radius, y);
  if (band) [from, to] = [Math.min(from, band[0]), Math.max(to, band[1])];
  return from <= to ? [from, to] : null;
}

/** Where a row runs through the rectangle alongside a segment, null if it does not. */
function alongside(a, b, radius, y) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dx, dy);
  if (!length) return null;
  const [ux, uy] = [dx / length, dy / length];
  const down = y - a[1];
  const along = between(ux, down * uy, 0, length); // 0 <= (x - ax) ux + down uy <= length
  const across = between(-uy, down * ux, -radius, radius);
  const from = a[0] + Math.max(along[0], across[0]);
  const to = a[0] + Math.min(along[1], across[1]);
  return from <= to ? [from, to] : null;
}

/** The x with low <= slope * x + offset <= high. */
function between(slope, offset, low, high) {
  if (Math.abs(slope) < 1e-9) {
    return offset >= low && offset <= high ? [-Infinity, Infinity] : [Infinity, -Infinity];
  }
  const ends = [(low - offset) / slope, (high - offset) / slope];
  return slope > 0 ? ends : ends.reverse();
}

function distance(x, y, a, b) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const square = dx * dx + dy * dy;
  const t = square ? Math.min(1, Math.max(0, ((x - a[0]) * dx + (y - a[1]) * dy) / square)) : 0;
  return Math.hypot(x - a[0] - t * dx, y - a[1] - t * dy);
}

/** Fill a polygon; where a lasso crosses itself, all it goes round is inside. */
function fillPolygon(mask, { width, height }, corners, value) {
  const ys = corners.map((corner) => corner[1]);
  const first = Math.max(0, Math.ceil(Math.min(...ys) - 0.5));
  const last = Math.min(height - 1, Math.floor(Math.max(...ys) - 0.5));
  for (let row = first; row <= last; row++) {
    let winding = 0;
    let from = 0;
    for (const [x, direction] of crossings(corners, row + 0.5)) {
      if (winding === 0) from = x;
      winding += direction;
      if (winding !== 0) continue;
      const start = Math.max(0, Math.ceil(from - 0.5));
      const end = Math.min(width, Math.ceil(x - 0.5));
      if (end > start) mask.fill(value, row * width + start, row * width + end);
    }
  }
}

/** Where the edges of a polygon cross a row, from left to right, and whether down or up. */
function crossings(corners, y) {
  const found = [];
  for (let i = 0; i < corners.length; i++) {
    const [x0, y0] = corners[i];
    const [x1, y1] = corners[(i + 1) % corners.length];
    if (y0 <= y === y1 <= y) continue;
    found.push([x0 + ((y - y0) / (y1 - y0)) * (x1 - x0), y1 > y0 ? 1 : -1]);
  }
  return found.sort((p, q) => p[0] - q[0]);
}

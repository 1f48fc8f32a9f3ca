/** Growing and shrinking of a mask by a disc. */

/** Grow the light parts: each pixel becomes the largest within `radius` of it. */
export function dilate(mask, width, height, radius) {
  const box = bounds(mask, width, height);
  if (!box || radius <= 0) return;
  const reach = Math.floor(radius);
  const x0 = Math.max(0, box.x0 - reach);
  const x1 = Math.min(width - 1, box.x1 + reach);
  const source = mask.slice();
  const row = new Uint8Array(width);
  for (let y = box.y0; y <= box.y1; y++) {
    for (let dy = 0; dy <= reach; dy++) {
      const half = Math.floor(Math.sqrt(radius * radius - dy * dy));
      widest(source, y * width, x0, x1, half, row);
      merge(mask, y - dy, width, height, x0, x1, row);
      if (dy) merge(mask, y + dy, width, height, x0, x1, row);
    }
  }
}

/** Shrink the light parts; beyond the border of the image nothing is dark. */
export function erode(mask, width, height, radius) {
  for (let k = 0; k < mask.length; k++) mask[k] = 255 - mask[k];
  dilate(mask, width, height, radius);
  for (let k = 0; k < mask.length; k++) mask[k] = 255 - mask[k];
}

/** The rows and columns that hold anything, null if none does. */
function bounds(mask, width, height) {
  let box = null;
  for (let y = 0; y < height; y++) {
    const line = mask.subarray(y * width, (y + 1) * width);
    const x0 = line.findIndex((value) => value > 0);
    if (x0 < 0) continue;
    const x1 = line.findLastIndex((value) => value > 0);
    box = box
      ? { x0: Math.min(box.x0, x0), x1: Math.max(box.x1, x1), y0: box.y0, y1: y }
      : { x0, x1, y0: y, y1: y };
  }
  return box;
}

/** The largest value within `half` pixels, along a row, by a queue of falling values. */
function widest(source, offset, x0, x1, half, row) {
  const queue = [];
  let head = 0;
  for (let x = x0; x <= x1 + half; x++) {
    if (x <= x1) {
      const value = source[offset + x];
      while (queue.length > head && source[offset + queue[queue.length - 1]] <= value) queue.pop();
      queue.push(x);
    }
    const center = x - half;
    if (center < x0) continue;
    while (queue[head] < center - half) head++;
    row[center] = source[offset + queue[head]];
  }
}

function merge(mask, y, width, height, x0, x1, row) {
  if (y < 0 || y >= height) return;
  for (let x = x0, k = y * width + x0; x <= x1; x++, k++) if (row[x] > mask[k]) mask[k] = row[x];
}

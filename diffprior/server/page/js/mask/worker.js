/** Beside the page: the mask at the size of the image, as a PNG file. */

import { decode } from "./bitmaps.js";
import { encode } from "./png.js";
import { rasterize, whole } from "./raster.js";
import { living } from "./shapes.js";

self.onmessage = async ({ data: { id, steps, width, height } }) => {
  try {
    const bitmaps = new Map();
    for (const { kind, blob } of living(steps)) {
      if (kind === "bitmap") bitmaps.set(blob, await decode(blob, width, height));
    }
    const mask = rasterize(steps, whole(width, height), bitmaps);
    const painted = mask.reduce((sum, value) => sum + (value > 0), 0);
    self.postMessage({ id, painted, blob: await encode(mask, width, height) });
  } catch (error) {
    self.postMessage({ id, error: String(error.message ?? error) });
  }
};

/**
 * Mask files, decoded: one byte a pixel, and coarser levels for a view of the whole image.
 *
 * What a file says is read as `diffprior inpaint --mask` reads it, for the masks that people make
 * most: transparency is what is not painted; otherwise the largest channel counts; of two values
 * the larger one is painted.
 */

const BAND = 512; // rows that are looked at together, so that memory stays low

/** The levels of a mask file, fitted to the size of the image. Throws if it is no image. */
export async function decode(blob, width, height) {
  const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const data = new Uint8Array(width * height);
  const seen = new Uint8Array(256);
  const clear = await read(picture, width, height, data, seen);
  picture.close();
  if (!clear) stretch(data, seen);
  return levels(data, width, height);
}

/** The size of an image file. */
export async function measure(blob) {
  const picture = await createImageBitmap(blob);
  const size = { width: picture.width, height: picture.height };
  picture.close();
  return size;
}

/** Read the pixels; returns whether the file has transparent parts, which alone count then. */
async function read(picture, width, height, data, seen) {
  const canvas = new OffscreenCanvas(width, Math.min(BAND, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  const bands = function* () {
    for (let top = 0; top < height; top += BAND) {
      const rows = Math.min(BAND, height - top);
      context.clearRect(0, 0, width, rows);
      context.drawImage(picture, 0, -top, width, height);
      yield [top, context.getImageData(0, 0, width, rows).data];
    }
  };
  let clear = false;
  for (const [top, pixels] of bands()) {
    for (let k = top * width, i = 0; i < pixels.length; k++, i += 4) {
      data[k] = Math.max(pixels[i], pixels[i + 1], pixels[i + 2]);
      seen[data[k]] = 1;
      if (pixels[i + 3] < 128) clear = true;
    }
  }
  if (!clear) return false;
  for (const [top, pixels] of bands()) {
    for (let k = top * width, i = 3; i < pixels.length; k++, i += 4) data[k] = pixels[i];
  }
  return true;
}

/** Make black and white of two values, whatever they are; leave more values as they are. */
function stretch(data, seen) {
  const values = [...seen.keys()].filter((value) => seen[value]);
  if (values.length !== 2) return;
  for (let k = 0; k < data.length; k++) data[k] = data[k] === values[1] ? 255 : 0;
}

function levels(data, width, height) {
  const all = [{ data, width, height }];
  while (Math.max(all.at(-1).width, all.at(-1).height) > 256) all.push(halve(all.at(-1)));
  return all;
}

/** The largest of each block of 2 by 2, so that a thin scratch is seen from afar. */
function halve({ data, width, height }) {
  const [w, h] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const half = new Uint8Array(w * h);
  for (let y = 0; y < height; y++) {
    const k = (y >> 1) * w;
    for (let x = 0, i = y * width; x < width; x++, i++) {
      if (data[i] > half[k + (x >> 1)]) half[k + (x >> 1)] = data[i];
    }
  }
  return { data: half, width: w, height: h };
}

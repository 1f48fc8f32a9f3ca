/** A gray PNG of 8 bits, written here: a canvas would need four bytes a pixel and smooth nothing. */

const BAND = 256; // rows that are compressed at a time

/** The PNG file of width * height bytes, as a Blob. */
export async function encode(mask, width, height) {
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8); // bits; the color type and all else are 0: gray, deflate, no interlace
  const body = new Uint8Array(await new Response(rows(mask, width, height)).arrayBuffer());
  const parts = [
    new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]),
    ...chunk("IHDR", new Uint8Array(head.buffer)),
    ...chunk("IDAT", body),
    ...chunk("IEND", new Uint8Array(0)),
  ];
  return new Blob(parts, { type: "image/png" });
}

/** The compressed rows, each after a byte 0: "no filter". */
function rows(mask, width, height) {
  let y = 0;
  const plain = new ReadableStream({
    pull(controller) {
      const count = Math.min(BAND, height - y);
      const band = new Uint8Array(count * (width + 1));
      for (let i = 0; i < count; i++, y++) {
        band.set(mask.subarray(y * width, (y + 1) * width), i * (width + 1) + 1);
      }
      if (count) controller.enqueue(band);
      if (y >= height) controller.close();
    },
  });
  return plain.pipeThrough(new CompressionStream("deflate"));
}

function chunk(name, data) {
  const start = new Uint8Array(8);
  const view = new DataView(start.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) start[4 + i] = name.charCodeAt(i);
  const end = new DataView(new ArrayBuffer(4));
  end.setUint32(0, crc(start.subarray(4), data));
  return [start, data, new Uint8Array(end.buffer)];
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc(...arrays) {
  let c = 0xffffffff;
  for (const bytes of arrays) {
    for (let k = 0; k < bytes.length; k++) c = TABLE[(c ^ bytes[k]) & 255] ^ (c >>> 8);
  }
  return (c ^ 0xffffffff) >>> 0;
}

/** The PNG file of a mask, made by a worker so that the page does not stand still. */

let worker = null;
let count = 0;
const waiting = new Map();

/** Returns {blob, painted}: the file, and how many pixels of it are not black. */
export function exportMask(steps, width, height) {
  worker ??= start();
  const id = ++count;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, steps, width, height });
  });
}

function start() {
  const made = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  made.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  };
  made.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message));
    waiting.clear();
    worker = null;
  };
  return made;
}

/** When the server does not answer: say so, wait, and take up the work when it is back. */

import { api, link } from "./api.js";
import { keep, kept } from "./mask/keep.js";
import { clearNotice, notice } from "./notice.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

const PAUSE = 1000; // ms between two tries

let isWaiting = false;

/** `saveNow` stores what is painted; `adopted(old, fresh)` is told the new name of an image. */
export function watchConnection({ saveNow, adopted }) {
  const wait = async () => {
    if (isWaiting) return;
    isWaiting = session.isPaused = true;
    await saveNow();
    for (let state = await api.state(); state !== "back"; state = await api.state()) {
      notice(texts[state], "lost");
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    isWaiting = session.isPaused = false;
    try {
      await recover(adopted);
    } catch {
      return; // gone once more: "lost" was told again
    }
    clearNotice("lost");
  };
  link.addEventListener("lost", wait);
  link.addEventListener("refused", wait);
}

/** Bring the images to a server that was started anew; its images have new names. */
async function recover(adopted) {
  const there = new Set((await api.images()).map((image) => image.id));
  const gone = session.images.filter((image) => !there.has(image.id));
  const missing = [];
  for (const image of gone) {
    const file = session.files.get(image.id);
    if (!file) {
      missing.push(image.name);
      continue;
    }
    const fresh = await api.open(file, image.name);
    await keep(fresh.id, await kept(image.id));
    session.files.delete(image.id);
    session.files.set(fresh.id, file);
    session.images = session.images.map((one) => (one.id === image.id ? fresh : one));
    adopted(image.id, fresh.id);
  }
  await session.start();
  notice(missing.length ? texts.goneWithServer(missing) : texts.back, "note");
}

/** When the server does not answer: say so, wait, and take up the work when it is back. */

import { api, link } from "./api.js";
import { keep, kept } from "./mask/keep.js";
import { clearNotice, notice } from "./notice.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

const PAUSE = 1000; // ms between two tries
const MOST = 2 ** 28; // bytes of files that the page asks for

const asked = new Set(); // images whose files were asked for
let isFetching = false;
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
    isWaiting = false;
    try {
      await recover(adopted);
    } catch {
      return; // gone once more: "lost" was told again
    }
    session.isPaused = false;
    clearNotice("lost");
  };
  link.addEventListener("lost", wait);
  link.addEventListener("refused", wait);
  session.addEventListener("images", fetchFiles);
}

/**
 * After a reload the page has no files: it asks the server for them, for a server that starts anew.
 * The same goes for photos of other tabs, and for results that are gone on with.
 */
async function fetchFiles() {
  if (isFetching) return;
  isFetching = true;
  for (let image = next(); image; image = next()) {
    asked.add(image.id);
    const file = await api.file(image.id).catch(() => null);
    if (file) session.files.set(image.id, file);
  }
  isFetching = false;
}

/** The first photo of which there is no file yet, as long as all of them are not too many bytes. */
function next() {
  const total = session.images.reduce((sum, image) => sum + image.bytes, 0);
  if (total > MOST) return null;
  return session.images.find(({ id }) => !session.files.has(id) && !asked.has(id));
}

/** One tab after the other: the second one finds the photos that the first one brought. */
function recover(adopted) {
  const work = () => bring(adopted);
  return navigator.locks ? navigator.locks.request("recover", work) : work();
}

/** Bring the images to a server that was started anew; its images have new names. */
async function bring(adopted) {
  const there = await api.images();
  const missing = [];
  for (const image of session.images.filter(({ id }) => !there.some((one) => one.id === id))) {
    const fresh = twin(image, there) ?? (await send(image));
    if (!fresh) {
      missing.push(image.name);
      continue;
    }
    await keep(fresh.id, await kept(image.id));
    session.files.set(fresh.id, session.files.get(image.id));
    session.files.delete(image.id);
    session.images = session.images.map((one) => (one.id === image.id ? fresh : one));
    adopted(image.id, fresh.id);
  }
  await session.start();
  notice(missing.length ? texts.goneWithServer(missing) : texts.back, "note");
}

/** The same photo, which another tab has brought. */
function twin(image, there) {
  const isOurs = ({ id }) => session.images.some((one) => one.id === id);
  return there.find((one) => one.name === image.name && one.bytes === image.bytes && !isOurs(one));
}

function send(image) {
  const file = session.files.get(image.id);
  return file ? api.open(file, image.name) : null;
}

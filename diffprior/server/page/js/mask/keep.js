/**
 * Painted masks outlive a reload: IndexedDB, by tab and image.
 *
 * Each tab keeps its own, so two tabs that paint on one photo do not disturb each other. What is
 * older than a week goes.
 */

const STORE = "masks";
const WEEK = 7 * 24 * 3600 * 1000;

let opened = null;

export function tabName() {
  let name = sessionStorage.getItem("tab");
  if (!name) sessionStorage.setItem("tab", (name = Math.random().toString(36).slice(2)));
  return name;
}

export async function keep(image, saved) {
  const value = { ...saved, time: Date.now() };
  await run("readwrite", (store) => store.put(value, key(image)));
}

export async function kept(image) {
  return (await run("readonly", (store) => store.get(key(image)))) ?? { steps: [], undone: [] };
}

export async function forget(image) {
  await run("readwrite", (store) => store.delete(key(image)));
}

export async function tidy() {
  await run("readwrite", (store) => {
    store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor) return;
      if (Date.now() - cursor.value.time > WEEK) cursor.delete();
      cursor.continue();
    };
    return null;
  });
}

function key(image) {
  return `${tabName()}/${image}`;
}

/** Run a request in a transaction. Without a database (a private window) nothing is kept. */
async function run(mode, work) {
  try {
    opened ??= open();
    const store = (await opened).transaction(STORE, mode).objectStore(STORE);
    const request = work(store);
    if (request) return await result(request);
  } catch {
    // The mask is still on the page.
  }
  return undefined;
}

function open() {
  const request = indexedDB.open("diffprior", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return result(request);
}

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

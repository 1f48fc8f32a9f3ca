/** Ways in: drop, paste, file dialog and folder. */

import { api } from "./api.js";
import { $, choose } from "./dom.js";
import { announce, clearNotice, notice } from "./notice.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

const IMAGES =
  /\.(png|jpe?g|jfif|tiff?|webp|bmp|gif|avif|hei[cf]|exr|ppm|pgm|dng|cr[23]|nef|arw|orf|raf|rw2)$/i;

export function setUpOpening() {
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => openDialog(button.dataset.open === "folder"));
  }
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) openFiles(files);
  });
  setUpDrop();
}

export async function openDialog(folder = false) {
  const files = await choose({ accept: folder ? "" : "image/*,.exr,.dng", multiple: true, folder });
  if (files.length) await openFiles(folder ? imagesOf(files) : files);
}

/** Send files to the server, in order; the first one that is taken is shown. */
export async function openFiles(files) {
  if (!files.length) {
    notice(texts.noImages);
    return;
  }
  clearNotice("error");
  document.body.classList.add("is-opening");
  announce(texts.opening(files.length));
  $("#opening").textContent = texts.opening(files.length);
  let isFirst = true;
  for (const file of files) {
    const image = await send(file);
    if (image && isFirst) session.select(image.id);
    if (image) isFirst = false;
  }
  document.body.classList.remove("is-opening");
  announce("");
}

async function send(file) {
  try {
    const image = await api.open(file, file.name || texts.clipboardName);
    session.add(image, file);
    return image;
  } catch (error) {
    if (error.status) notice(error.message);
    return null;
  }
}

/** The images among the files of a folder, by name. */
function imagesOf(files) {
  const found = files.filter((file) => file.type.startsWith("image/") || IMAGES.test(file.name));
  const path = (file) => file.webkitRelativePath || file.name;
  return found.sort((a, b) => path(a).localeCompare(path(b), undefined, { numeric: true }));
}

function setUpDrop() {
  let depth = 0;
  const mark = (isOver) => document.body.classList.toggle("is-dropping", isOver);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => hasFiles(event) && mark(++depth > 0));
  addEventListener("dragleave", (event) => hasFiles(event) && mark(--depth > 0));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    depth = 0;
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
    const isFolder = entries.some((entry) => entry?.isDirectory);
    if (!isFolder) openFiles([...event.dataTransfer.files]);
    else openFiles(imagesOf((await Promise.all(entries.filter(Boolean).map(filesOf))).flat()));
  });
}

/** All files below an entry of a drop. */
async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...(await Promise.all(some.map(filesOf))).flat());
  }
}

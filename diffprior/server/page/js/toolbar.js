/** The tools at the side, the settings of the brush, and the menu of the mask. */

import { api } from "./api.js";
import { $, choose, press, save } from "./dom.js";
import { editor } from "./editor.js";
import { measure } from "./mask/bitmaps.js";
import { announce, notice } from "./notice.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

const GROWTH = 2; // px by which a press grows or shrinks the mask
const SHAPE = 0.02; // how far the proportions of a mask may be from the photo's

export const actions = {
  undo: () => editor.undo(),
  redo: () => editor.redo(),
  invert: () => editor.push({ kind: "invert" }),
  grow: () => editor.push({ kind: "grow", by: GROWTH }),
  shrink: () => editor.push({ kind: "grow", by: -GROWTH }),
  clear: () => editor.push({ kind: "clear" }),
  loadMask: async () => {
    const [file] = await choose();
    if (file) await loadMask(file);
  },
  saveMask: async () => {
    const { blob } = await editor.export();
    save(blob, `${session.image.name.replace(/\.[^.]*$/, "")}.mask.png`);
  },
  findScratches: () => find("scratches"),
  findText: () => find("text"),
  byColor: () => $("#color-dialog").showModal(),
};

export function setUpToolbar() {
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => editor.set({ tool: button.dataset.tool }));
  }
  for (const button of document.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => {
      button.closest("details")?.removeAttribute("open");
      actions[button.dataset.action]();
    });
  }
  setUpSliders();
  setUpColors();
  setUpMenus();
  editor.addEventListener("tool", showSettings);
  editor.addEventListener("mask", showHistory);
  session.addEventListener("task", showTools);
  session.addEventListener("current", showTools);
  session.addEventListener("images", showTools);
}

/** Take a mask file for the image on the canvas. */
async function loadMask(file) {
  const { width, height } = session.image;
  let size;
  try {
    size = await measure(file);
  } catch {
    notice(texts.noMaskFile(file.name));
    return;
  }
  const shape = (size.width / size.height) * (height / width);
  if (Math.abs(shape - 1) > SHAPE) {
    notice(texts.otherShape(file.name, width, height));
    return;
  }
  await editor.push({ kind: "bitmap", blob: new Blob([file], { type: file.type }) });
  if (size.width !== width) notice(texts.fitted(file.name), "note");
}

/** Ask the server for a draft, and add it to the mask. */
async function find(finder, settings = []) {
  const image = session.image;
  if (!image) return;
  $("#stage-area").setAttribute("aria-busy", "true");
  announce(texts.finding);
  try {
    const blob = await api.find(finder, [["image", image.id], ...settings]);
    const before = editor.history.steps.length;
    if (session.current === image.id) await editor.push({ kind: "bitmap", blob });
    announce(editor.history.steps.length > before ? "" : texts.nothingFound);
  } catch (error) {
    if (error.status) notice(error.message);
  } finally {
    $("#stage-area").removeAttribute("aria-busy");
  }
}

/** The slider of the size runs evenly over the logarithm. */
function setUpSliders() {
  $("#brush-size").addEventListener("input", ({ target }) => {
    editor.set({ radius: 0.5 * Math.exp(Number(target.value) * Math.log(longerSide())) });
  });
  $("#soft-edge").addEventListener("input", ({ target }) => {
    editor.set({ soft: Math.round((Number(target.value) ** 2 * longerSide()) / 8) });
  });
  $("#pressure").addEventListener("change", ({ target }) => {
    editor.set({ pressure: target.checked });
  });
}

function longerSide() {
  return session.image ? Math.max(session.image.width, session.image.height) : 512;
}

function showSettings() {
  const { tool, radius, soft } = editor.settings;
  for (const button of document.querySelectorAll("[data-tool]")) {
    press(button, button.dataset.tool === tool);
  }
  const size = Math.round(2 * radius);
  $("#brush-size").value = Math.log(2 * radius) / Math.log(longerSide());
  $("#brush-size").setAttribute("aria-valuetext", texts.pixels(size));
  $("#brush-size-value").textContent = texts.pixels(size);
  $("#soft-edge").value = Math.sqrt((8 * soft) / longerSide());
  $("#soft-edge").setAttribute("aria-valuetext", texts.pixels(soft));
  $("#soft-edge-value").textContent = texts.pixels(soft);
}

function showHistory() {
  $("[data-action=undo]").disabled = !editor.history.steps.length;
  $("[data-action=redo]").disabled = !editor.history.undone.length;
}

/** Tools are there only for a task that takes a mask. */
function showTools() {
  const isOn = editor.takesMask && Boolean(session.image);
  $("#tools").hidden = $("#brush-bar").hidden = !isOn;
  editor.stage.show({ isMaskShown: isOn });
  document.body.classList.toggle("has-image", Boolean(session.image));
}

function setUpColors() {
  const dialog = $("#color-dialog");
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "find") return;
    const color = ["color", $("#paint-color").value];
    find("color", [color, ["tolerance", $("#tolerance").value]]);
  });
}

/** A menu closes by a press elsewhere or Escape. */
function setUpMenus() {
  const menus = document.querySelectorAll("details.menu");
  document.addEventListener("pointerdown", ({ target }) => {
    for (const menu of menus) if (!menu.contains(target)) menu.open = false;
  });
  for (const menu of menus) {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      event.stopPropagation();
      menu.open = false;
      $("summary", menu).focus();
    });
  }
}

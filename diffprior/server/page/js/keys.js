/** The keys. Where a field has the focus, its own keys count. */

import { $, make } from "./dom.js";
import { editor } from "./editor.js";
import { step } from "./film.js";
import { cancel, run } from "./jobs.js";
import { openDialog } from "./open.js";
import { toggles } from "./results.js";
import { session } from "./session.js";
import { texts } from "./texts.js";
import { actions } from "./toolbar.js";

const LARGER = 1.15; // by which a bracket changes the brush
const SOFTER = 2; // px of a soft edge

const tool = (name) => () => editor.set({ tool: name });
const size = (factor) => () => editor.set({ radius: editor.settings.radius * factor });
const soft = (by) => () => editor.set({ soft: Math.max(0, editor.settings.soft + by) });

const PLAIN = {
  b: tool("brush"),
  e: tool("eraser"),
  l: tool("lasso"),
  r: tool("rectangle"),
  "[": size(1 / LARGER),
  "]": size(LARGER),
  "{": soft(-SOFTER),
  "}": soft(SOFTER),
  i: actions.invert,
  g: actions.grow,
  delete: actions.clear,
  backspace: actions.clear,
  c: toggles.compare,
  m: toggles.mask,
  v: toggles.veil,
  "+": () => editor.view.zoom(1.25),
  "=": () => editor.view.zoom(1.25),
  "-": () => editor.view.zoom(0.8),
  0: () => editor.view.fit(),
  1: () => editor.view.zoom(1 / editor.view.scale),
  pagedown: () => step(1),
  pageup: () => step(-1),
  "?": showHelp,
  o: () => toggles.hold(true),
};
const MASKS = new Set(["i", "g", "delete", "backspace"]); // only for a task that takes a mask

export function setUpKeys() {
  addEventListener("keydown", down);
  addEventListener("keyup", up);
  addEventListener("blur", release);
  $("#help").addEventListener("click", showHelp);
  $("#stage").addEventListener("keydown", onStage);
  const rows = texts.keys.flatMap(([keys, what]) => [make("dt", {}, keys), make("dd", {}, what)]);
  $("#keys").replaceChildren(...rows);
}

export function showHelp() {
  $("#help-dialog").showModal();
}

function down(event) {
  if ($("dialog[open]") || event.defaultPrevented) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    withControl(event, key);
    return;
  }
  if (isField(event.target)) return;
  if (key === " " && !isButton(event.target)) {
    event.preventDefault();
    hold(true);
  } else if (key === "escape") escape();
  else if (key === "enter" && !isButton(event.target) && event.target !== $("#stage")) enter();
  else if (PLAIN[key] && !event.altKey && !(MASKS.has(key) && !editor.takesMask)) {
    event.preventDefault();
    PLAIN[key]();
  }
}

function up(event) {
  const key = event.key.toLowerCase();
  if (key === " ") hold(false);
  if (key === "o") toggles.hold(false);
}

function release() {
  hold(false);
  toggles.hold(false);
}

function withControl(event, key) {
  if (isText(event.target) && key !== "o") return;
  const isRedo = key === "y" || (key === "z" && event.shiftKey);
  const work = { z: isRedo ? actions.redo : actions.undo, y: actions.redo, o: openDialog }[key];
  if (!work) return;
  event.preventDefault();
  work(false);
}

function escape() {
  if (editor.tools.isBusy) {
    editor.tools.cancel();
    editor.redraw();
  } else cancel();
}

function enter() {
  if (editor.tools.corners) editor.tools.close();
  else if (session.image) run();
}

/** Keys on the photo itself: arrows move the brush, Enter paints. */
function onStage(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (moves[event.key]) editor.nudge(...moves[event.key]);
  else if (event.key === "Enter" && editor.tools.corners) editor.tools.close();
  else if (event.key === "Enter") editor.dab(event.shiftKey);
  else return;
  event.preventDefault();
}

function hold(is) {
  if (editor.isSpaceHeld === is) return;
  editor.isSpaceHeld = is;
  $("#stage").classList.toggle("is-moving", is);
}

function isText(element) {
  return element.matches?.("input:not([type=range], [type=checkbox], [type=radio]), textarea");
}

function isField(element) {
  return isText(element) || element.matches?.("select, input[type=range], input[type=radio]");
}

function isButton(element) {
  return element.matches?.("button, summary, input, a, select");
}

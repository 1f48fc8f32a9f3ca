/** The form of a task, made from what the server says of its settings. */

import { $, icon, make } from "./dom.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

const HIDDEN = new Set(["mask_color", "invert_mask", "fit_mask"]); // they are for mask files
const THREE = "3";

/** What was entered, by task: a Map of names and texts. It outlives a change of the tab. */
const entered = new Map();

export function setUpForm() {
  session.addEventListener("task", draw);
  session.addEventListener("images", fillImages);
  session.addEventListener("current", fillImages);
  $("#form").addEventListener("submit", (event) => event.preventDefault());
}

/** The settings that differ from the defaults, as pairs for the server. */
export function settings() {
  const values = valuesOf(session.task);
  const pairs = [...values].filter(([name, value]) => name !== "invented" && value !== "");
  if (values.get("invented") === "true") pairs.push(["uncertainty", "true"]);
  return pairs;
}

/** The setting of a mask that the painted mask is sent as. */
export function maskOption(task = session.taskRecord) {
  return task?.options.find((option) => option.kind === "mask") ?? null;
}

/** Show a sentence at the setting that it names, or below the button; returns the field. */
export function complain(sentence) {
  clearComplaint();
  const options = session.taskRecord.options.filter((option) => $(`#set-${option.name}`));
  const isNamed = ({ name }) =>
    new RegExp(`(^|[^a-z])(${name}|${name.replaceAll("_", "[-_ ]")})([^a-z]|$)`, "i").test(sentence);
  const option = options.sort((a, b) => b.name.length - a.name.length).find(isNamed);
  const field = option ? $(`#set-${option.name}`) : null;
  const place = field ? $(".field-error", field.closest(".field")) : $("#run-error");
  place.textContent = sentence;
  place.hidden = false;
  if (!field) return;
  field.closest("details")?.setAttribute("open", "");
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

export function clearComplaint() {
  for (const place of document.querySelectorAll(".field-error, #run-error")) {
    place.hidden = true;
    place.textContent = "";
  }
  for (const field of document.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
  }
}

function valuesOf(task) {
  if (!entered.has(task)) entered.set(task, new Map());
  return entered.get(task);
}

function draw() {
  const task = session.taskRecord;
  if (!task) return;
  const shown = task.options.filter(({ kind, name }) => kind !== "mask" && !HIDDEN.has(name));
  const samples = shown.find((option) => option.name === "samples");
  const rest = shown.filter((option) => option !== samples);
  const common = rest.filter((option) => option.common).map(field);
  if (samples) common.push(samplesField(samples), inventedField());
  $("#common").replaceChildren(hint(task) ?? "", ...common);
  drawGroups(rest.filter((option) => !option.common));
  clearComplaint();
  fillImages();
}

/** The settings that are folded, in their groups. */
function drawGroups(options) {
  const names = [...new Set(options.map((option) => option.group ?? ""))];
  const groups = names.map((name) => {
    const fields = options.filter((option) => (option.group ?? "") === name).map(field);
    const isNamed = name && name !== texts.more; // else its name would stand there twice
    if (!isNamed) return make("div", { className: "group" }, ...fields);
    const legend = make("legend", {}, name);
    return make("fieldset", { className: "group" }, legend, ...fields);
  });
  $("#more").hidden = !options.length;
  $("#more-fields").replaceChildren(...groups);
}

/** What painting is for in this task. */
function hint(task) {
  const option = maskOption(task);
  if (!option) return null;
  const special = { inpaint: texts.paintHint, restore: texts.paintScratches };
  return make("p", { className: "hint" }, special[task.name] ?? texts.paintOptional);
}

function field(option) {
  const id = `set-${option.name}`;
  const help = make("p", { className: "help", id: `${id}-help`, hidden: true }, option.help);
  const label = make("label", { htmlFor: id }, option.label);
  const row = make("div", { className: "field-label" }, label, helpButton(option.label, help));
  const error = make("p", { className: "field-error", role: "alert", hidden: true });
  const input = control(option, id);
  input.setAttribute("aria-describedby", help.id);
  if (option.kind === "flag") {
    row.prepend(input);
    return make("div", { className: "field flag" }, row, help, error);
  }
  return make("div", { className: "field" }, row, input, help, error);
}

function helpButton(label, help) {
  const button = make("button", {
    type: "button",
    className: "help-button",
    title: texts.helpFor(label),
    aria: { label: texts.helpFor(label), expanded: false, controls: help.id },
    on: {
      click: () => {
        help.hidden = !help.hidden;
        button.setAttribute("aria-expanded", String(!help.hidden));
      },
    },
  });
  button.append(icon("help"));
  return button;
}

function control(option, id) {
  const values = valuesOf(session.task);
  const put = (value) => {
    values.set(option.name, value);
    clearComplaint();
  };
  const value = values.get(option.name) ?? "";
  if (option.kind === "flag") return flag(option, id, value, put);
  if (option.kind === "choice") return choice(option, id, value, put);
  if (option.kind === "image") return imageChoice(option, id, value, put);
  const isNumber = option.kind === "int" || option.kind === "float";
  return make("input", {
    id,
    value,
    type: isNumber ? "number" : "text",
    inputMode: isNumber ? (option.kind === "int" ? "numeric" : "decimal") : "text",
    placeholder: option.default ?? texts.automatic,
    autocomplete: "off",
    spellcheck: false,
    ...(isNumber && { step: option.kind === "int" ? 1 : "any" }),
    ...(isNumber && option.minimum !== null && { min: option.minimum ?? "" }),
    ...(isNumber && option.maximum !== null && { max: option.maximum ?? "" }),
    on: { input: ({ target }) => put(target.value) },
  });
}

function flag(option, id, value, put) {
  const checked = value ? value === "true" : Boolean(option.default);
  const change = ({ target }) => put(String(target.checked));
  return make("input", { id, type: "checkbox", checked, on: { change } });
}

function choice(option, id, value, put) {
  const change = ({ target }) => put(target.value);
  const first = option.default === null ? [["", texts.automatic]] : [];
  const pairs = [...first, ...option.choices.map((one) => [one, one])];
  const made = pairs.map(([one, text]) => make("option", { value: one }, text));
  const select = make("select", { id, on: { change } }, ...made);
  select.value = value || String(option.default ?? "");
  return select;
}

function imageChoice(option, id, value, put) {
  const change = ({ target }) => put(target.value);
  const select = make("select", { id, data: { images: "" }, on: { change } });
  select.dataset.value = value;
  return select;
}

/** The other photos, for settings that are images. */
function fillImages() {
  const others = session.images.filter((image) => image.id !== session.current);
  for (const select of document.querySelectorAll("select[data-images]")) {
    const value = select.value || select.dataset.value;
    const first = others.length ? texts.noImage : texts.otherImages;
    const made = others.map((image) => make("option", { value: image.id }, image.name));
    select.replaceChildren(make("option", { value: "" }, first), ...made);
    select.value = others.some((image) => image.id === value) ? value : "";
    if (select.value !== value) valuesOf(session.task).set(select.id.slice(4), "");
  }
}

/** One result, or three to choose from. */
function samplesField(option) {
  const values = valuesOf(session.task);
  const name = `samples-${session.task}`;
  const radio = (value, text) => {
    const checked = (values.get(option.name) ?? "") === value;
    const change = () => values.set(option.name, value);
    const input = make("input", { type: "radio", name, value, checked, on: { change } });
    return make("label", {}, input, make("span", {}, text));
  };
  const legend = make("legend", {}, texts.results);
  const choices = make("div", { className: "segments" }, radio("", texts.one), radio(THREE, texts.three));
  return make("fieldset", { className: "field samples" }, legend, choices);
}

function inventedField() {
  const values = valuesOf(session.task);
  const id = "set-invented";
  const help = make("p", { className: "help", id: `${id}-help`, hidden: true }, texts.inventedHelp);
  const change = ({ target }) => values.set("invented", String(target.checked));
  const checked = values.get("invented") === "true";
  const input = make("input", { id, type: "checkbox", checked, on: { change } });
  input.setAttribute("aria-describedby", help.id);
  const label = make("label", { htmlFor: id }, texts.invented);
  const row = make("div", { className: "field-label" }, input, label);
  row.append(helpButton(texts.invented, help));
  return make("div", { className: "field flag" }, row, help);
}

/** Results: which one is looked at, before and after, download, and the way it was made. */

import { api } from "./api.js";
import { $, make, picture, press } from "./dom.js";
import { editor } from "./editor.js";
import { notice } from "./notice.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

const AT_FIRST = 0.5; // where the divider is

export function setUpResults() {
  for (const name of ["jobs", "current", "shown"]) session.addEventListener(name, drawList);
  session.addEventListener("shown", showChosen);
  session.addEventListener("current", showImage);
  $("#download").addEventListener("click", download);
  $("#go-on").addEventListener("click", goOn);
  $("#forget").addEventListener("click", () => session.forget(session.shown.job).catch(tell));
  $("#format").replaceChildren(
    ...Object.entries(texts.formats).map(([value, text]) => make("option", { value }, text)),
  );
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button));
  }
  setUpView();
}

/** Before and after, the veil, the mask: on or off. */
export const toggles = {
  compare: () => {
    const isOn = editor.stage.scene.divide !== null;
    editor.scene({ divide: isOn || !editor.stage.scene.result ? null : AT_FIRST });
  },
  mask: () => editor.scene({ isMaskShown: !editor.stage.scene.isMaskShown }),
  veil: async () => {
    const job = shownJob();
    if (!job?.uncertainty) return;
    const { veil } = editor.stage.scene;
    editor.scene({ veil: veil ? null : await picture(api.veil(job.job)) });
  },
  hold: (isHeld) => editor.scene({ isHeld }),
};

function shownJob() {
  return session.jobs.find((job) => job.job === session.shown?.job) ?? null;
}

async function showImage() {
  await editor.show(session.image);
  await showChosen();
}

/** Put the chosen result on the canvas. */
async function showChosen() {
  const { shown } = session;
  const job = shownJob();
  drawDetails(job);
  if (!shown || !job) {
    editor.scene({ result: null, veil: null, divide: null });
    return;
  }
  const result = await picture(api.resultPreview(shown.job, shown.sample));
  if (session.shown !== shown) return;
  const { veil } = editor.stage.scene;
  const fresh = veil && job.uncertainty ? await picture(api.veil(job.job)) : null;
  editor.scene({ result, live: null, veil: fresh, isMaskShown: false });
  if (job.report) drawDetails(job);
  else await fetchReport(job);
}

/** The list of jobs has no reports. */
async function fetchReport(job) {
  const whole = await api.job(job.job).catch(() => null);
  if (!whole) return;
  Object.assign(job, whole);
  if (session.shown?.job === job.job) drawDetails(job);
}

function drawList() {
  const jobs = session.jobsOf(session.current).filter((job) => job.state === "done");
  $("#results").hidden = !jobs.length;
  const original = jobs.length ? [card(null, texts.original, api.preview(session.current, 256))] : [];
  const results = jobs.toReversed().flatMap((job) =>
    job.results.map(({ sample }) => {
      const title = texts.made[job.task] ?? texts.madeOther;
      const name = texts.sample(title, sample, job.results.length);
      return card({ job: job.job, sample }, name, api.resultPreview(job.job, sample, 256));
    }),
  );
  replaceCards([...original, ...results]);
  $("#result-actions").hidden = !session.shown;
}

/** Keep the elements that are there already: their pictures need not be loaded again. */
function replaceCards(cards) {
  const list = $("#result-list");
  const known = new Map([...list.children].map((one) => [one.dataset.key, one]));
  const focused = document.activeElement?.closest("#result-list li")?.dataset.key;
  const items = cards.map((one) => known.get(one.dataset.key) ?? one);
  const isSame = items.length === list.children.length && items.every((x, i) => x === list.children[i]);
  if (!isSame) list.replaceChildren(...items);
  for (const item of items) press($("button", item), item.dataset.key === keyOf(session.shown));
  if (focused && !isSame) $(`[data-key="${focused}"] button`, list)?.focus();
}

function keyOf(choice) {
  return choice ? `${choice.job}-${choice.sample}` : `original-${session.current}`;
}

function card(choice, name, address) {
  const thumb = make("img", { src: address, alt: "", loading: "lazy", draggable: false });
  const on = { click: () => session.show(choice) };
  const button = make("button", { type: "button", className: "card", on }, thumb, make("span", {}, name));
  return make("li", { data: { key: keyOf(choice) } }, button);
}

function download() {
  const { job, sample } = session.shown;
  const link = make("a", { href: api.result(job, sample, $("#format").value), download: "" });
  link.click();
}

/** The result becomes an image of its own, to paint on again. */
async function goOn() {
  const { job, sample } = session.shown;
  try {
    const image = await api.goOn(job, sample);
    session.add(image);
    session.select(image.id);
  } catch (error) {
    tell(error);
  }
}

function tell(error) {
  if (error.status) notice(error.message);
}

function drawDetails(job) {
  $("#details").hidden = !job;
  $("#result-actions").hidden = !job;
  if (!job) return;
  $("#command").textContent = job.command ?? "";
  $("#python").textContent = job.python ?? "";
  $("#report").hidden = !job.report;
  $("#report-list").replaceChildren(...rows(job.report ?? {}));
  const notes = (job.warnings ?? []).map((sentence) => make("li", {}, sentence));
  $("#warnings").replaceChildren(...notes);
  $("#warnings").hidden = !notes.length;
}

/** The entries of a report, those of a part after its name. */
function rows(report, before = "") {
  return Object.entries(report).flatMap(([name, value]) => {
    if (value === null || value === undefined || value === "") return [];
    const path = before ? `${before} ${name}` : name;
    if (typeof value === "object" && !Array.isArray(value)) return rows(value, path);
    const isPlain = !Array.isArray(value) || value.every((one) => typeof one !== "object");
    const text = isPlain ? [value].flat().map(plain).join(", ") : JSON.stringify(value);
    return [make("dt", {}, path.replaceAll("_", " ")), make("dd", {}, text)];
  });
}

function plain(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value);
}

/** Copy a text; without the clipboard (a plain address that is not local) select it. */
async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = texts.copied;
    setTimeout(() => (button.textContent = texts.copy), 1500);
  } catch {
    getSelection().selectAllChildren(source);
  }
}

function setUpView() {
  const { view } = editor;
  const on = (id, type, take) => $(id).addEventListener(type, take);
  on("#zoom-in", "click", () => view.zoom(1.25));
  on("#zoom-out", "click", () => view.zoom(0.8));
  on("#fit", "click", () => view.fit());
  on("#compare", "click", toggles.compare);
  on("#veil", "click", toggles.veil);
  on("#show-mask", "click", toggles.mask);
  on("#divider", "input", ({ target }) => editor.scene({ divide: Number(target.value) }));
  for (const [start, end] of [["pointerdown", "pointerup"], ["keydown", "keyup"]]) {
    on("#hold", start, (event) => isPress(event) && toggles.hold(true));
    on("#hold", end, () => toggles.hold(false));
  }
  for (const end of ["pointerleave", "pointercancel", "blur"]) on("#hold", end, () => toggles.hold(false));
  editor.addEventListener("scene", drawView);
}

function isPress(event) {
  return event.type !== "keydown" || event.key === " " || event.key === "Enter";
}

/** The bar below the photo: what is on, and where the divider is. */
function drawView() {
  const { result, divide, veil, isMaskShown } = editor.stage.scene;
  const job = shownJob();
  $("#view-bar").hidden = !session.image;
  $("#zoom-value").textContent = `${Math.round(100 * editor.view.scale)}%`;
  $("#after").hidden = !result;
  $("#veil").hidden = !job?.uncertainty;
  press($("#compare"), divide !== null);
  press($("#veil"), Boolean(veil));
  press($("#show-mask"), isMaskShown);
  $("#show-mask").hidden = !editor.takesMask || !editor.isPainted;
  drawDivider(divide);
}

function drawDivider(divide) {
  const { image } = session;
  $("#divider").hidden = $("#divider-line").hidden = divide === null;
  if (divide === null || !image) return;
  $("#divider").value = divide;
  const [x, top] = editor.view.toScreen(divide * image.width, 0);
  const line = $("#divider-line");
  line.style.transform = `translateX(${x}px)`;
  line.style.top = `${Math.max(0, top)}px`;
  line.style.height = `${Math.min(editor.view.screen.height, image.height * editor.view.scale)}px`;
}

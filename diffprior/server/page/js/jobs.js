/** Run a task, follow its job, and cancel it. */

import { api, ServerError } from "./api.js";
import { $ } from "./dom.js";
import { editor } from "./editor.js";
import { clearComplaint, complain, maskOption, settings } from "./forms.js";
import { announce, clearNotice } from "./notice.js";
import { isActive, session } from "./session.js";
import { texts } from "./texts.js";

const AGAIN = 1000; // ms until a stream that broke off is opened anew

let followed = null; // {id, source}: one stream at a time, as a browser opens only six
const underWay = new Set(); // jobs of which the end has not been seen
let isSending = false;

export function setUpJobs() {
  $("#run").addEventListener("click", () => run());
  $("#run-all").addEventListener("click", () => run({ all: true }));
  $("#again").addEventListener("click", () => run({ again: true }));
  $("#cancel").addEventListener("click", cancel);
  for (const name of ["jobs", "current", "images", "task"]) session.addEventListener(name, draw);
  session.addEventListener("jobs", settle);
  session.addEventListener("jobs", follow);
  session.addEventListener("current", follow);
  editor.addEventListener("mask", draw);
}

/** The job of the present image that waits or runs. */
function activeJob() {
  return session.jobsOf(session.current).find(isActive) ?? null;
}

/** Send the image, the mask and the settings. */
export async function run({ all = false, again = false } = {}) {
  const { image } = session;
  const task = session.taskRecord;
  if (isSending || !task) return;
  clearComplaint();
  clearNotice("error");
  if (!image) {
    complain(texts.openFirst);
    return;
  }
  setSending(true);
  try {
    const images = all ? session.images : [image];
    const entries = images.map((one) => ["image", one.id]);
    const mask = all ? [] : await maskEntry(task, image);
    if (mask) await send(task.name, [...entries, ...mask, ...chosen(again)]);
  } catch (error) {
    if (!(error instanceof ServerError) || error.status) complain(error.message);
  } finally {
    setSending(false);
  }
}

async function send(task, entries) {
  const answer = await api.run(task, entries);
  for (const job of [answer].flat()) {
    underWay.add(job.job);
    session.update(await api.job(job.job));
  }
}

/** The settings; for another try with the next seed. */
function chosen(again) {
  const pairs = settings();
  if (!again) return pairs;
  const seeds = session.jobsOf(session.current).map((job) => Number(job.report?.seed ?? 0));
  const own = pairs.find(([name]) => name === "seed");
  const seed = Math.max(Number(own?.[1] ?? 0), ...seeds) + 1;
  return [...pairs.filter((pair) => pair !== own), ["seed", String(seed)]];
}

/** The painted mask as an entry; null, with a sentence, if there must be one and there is none. */
async function maskEntry(task, image) {
  const option = maskOption(task);
  if (!option) return [];
  const made = editor.isPainted ? await editor.export() : { painted: 0 };
  if (made.painted) return [[option.name, made.blob, "mask.png"]];
  if (task.name !== "inpaint" || image.alpha) return [];
  complain(texts.paintFirst);
  return null;
}

export async function cancel() {
  const job = activeJob();
  if (!job) return;
  try {
    await api.drop(job.job);
    session.update({ ...job, state: "canceled" });
    announce(texts.canceled);
  } catch (error) {
    if (error.status && error.status !== 404) complain(error.message);
  }
}

/** Listen to the job of the present image, or to any that runs. */
function follow() {
  const wanted = activeJob() ?? session.jobs.find((job) => job.state === "running");
  if (followed?.id === wanted?.job) return;
  followed?.source.close();
  followed = null;
  if (wanted) followed = { id: wanted.job, source: listen(wanted.job) };
}

function listen(id) {
  const source = api.events(id);
  const on = (name, take) => source.addEventListener(name, (event) => take(JSON.parse(event.data)));
  on("state", (job) => session.update({ report: null, ...job }));
  on("progress", (progress) => session.update({ job: id, ...progress, state: stateOf(progress) }));
  on("preview", ({ url, box }) => showEstimate(id, url, box));
  for (const name of ["done", "failed", "canceled"]) on(name, (job) => finish(source, job));
  source.onerror = () => {
    source.close();
    setTimeout(() => {
      if (followed?.source === source) followed = null;
      session.refresh().then(follow, () => {});
    }, AGAIN);
  };
  return source;
}

/** The first of the queue is the one that runs. */
function stateOf({ position }) {
  return position > 1 ? "queued" : "running";
}

function finish(source, job) {
  source.close();
  if (followed?.source === source) followed = null;
  session.update(job);
}

/** Show what has come to its end, whichever way the page heard of it: the stream or a look. */
function settle() {
  for (const job of [...session.jobs]) {
    if (isActive(job)) underWay.add(job.job);
    else if (underWay.delete(job.job)) settled(job);
  }
}

function settled(job) {
  if (job.state === "done") announce(texts.finished(job.task));
  if (job.image !== session.current) return;
  editor.scene({ live: null });
  if (job.state !== "done") return;
  $("#stage-area").scrollIntoView({ block: "nearest" });
  session.show({ job: job.job, sample: 1 });
}

/** The estimate so far, on the part of the image that is worked on. */
async function showEstimate(id, address, box) {
  const job = session.jobs.find((one) => one.job === id);
  if (!job || job.image !== session.current) return;
  const image = new Image();
  image.src = address;
  await image.decode().catch(() => null);
  if (image.naturalWidth && job.image === session.current && isActive(job)) {
    editor.scene({ live: { picture: image, box }, isFilled: job.task === "inpaint" });
  }
}

function setSending(is) {
  isSending = is;
  draw();
}

/** The button, or how far the job is; and what went wrong with the last one. */
function draw() {
  const job = activeJob();
  const task = session.taskRecord;
  const last = session.jobsOf(session.current).at(-1);
  $("#run").textContent = isSending ? texts.sending : (texts.run[task?.name] ?? texts.runOther);
  $("#run").disabled = isSending;
  $("#run-row").hidden = Boolean(job);
  $("#progress").hidden = !job;
  drawOthers(task, last);
  if (job) drawProgress(job);
  else editor.stage.scene.live && editor.scene({ live: null });
  const sentence = last?.state === "failed" && last.task === task?.name ? last.error : "";
  $("#job-error").textContent = sentence ?? "";
  $("#job-error").hidden = !sentence;
}

function drawOthers(task, last) {
  const isForAll = session.images.length > 1 && !maskOption(task)?.required && task?.name !== "inpaint";
  $("#run-all").hidden = !isForAll;
  $("#run-all").textContent = texts.runAll(session.images.length);
  const hasSeed = task?.options.some((option) => option.name === "seed");
  $("#again").hidden = !hasSeed || last?.state !== "done" || last.task !== task.name;
}

function drawProgress(job) {
  const share = Math.round(100 * (job.share ?? 0));
  $("#bar").value = job.share ?? 0;
  $("#bar").setAttribute("aria-valuetext", `${share}%`);
  const isQueued = job.state === "queued";
  const left = job.seconds_left === null || job.seconds_left === undefined ? "" : texts.left(job.seconds_left);
  const stage = capitalize(job.stage ?? "");
  const words = isQueued ? [texts.waiting(job.position)] : [stage, `${share}%`, left];
  $("#progress-text").textContent = words.filter(Boolean).join(" · ");
}

function capitalize(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What the page knows of the server's session: images, jobs, and which of them are looked at. */

import { api, link, ServerError } from "./api.js";

const BUSY = 2000; // ms between two looks at the server while work is under way
const IDLE = 4000;

export const isActive = (job) => job.state === "queued" || job.state === "running";

/** Tells "images", "jobs", "current", "task" and "shown". */
class Session extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { server: null, tasks: [], images: [], jobs: [], files: new Map() });
    this.current = sessionStorage.getItem("image");
    this.task = sessionStorage.getItem("task");
    this.choices = new Map(); // image -> {job, sample}, or null for the original
    this.changes = 0; // made here to images and jobs: what the server said before them is too old
  }

  get image() {
    return this.images.find((image) => image.id === this.current) ?? null;
  }

  get taskRecord() {
    return this.tasks.find((task) => task.name === this.task) ?? null;
  }

  /** The result that is looked at: {job, sample}, or null for the original. */
  get shown() {
    return this.choices.get(this.current) ?? null;
  }

  jobsOf(image) {
    return this.jobs.filter((job) => job.image === image);
  }

  async start() {
    [this.server, this.tasks] = await Promise.all([api.server(), api.tasks()]);
    this.tasks = this.tasks.filter((task) => task.tab && task.input === "image");
    if (!this.taskRecord) this.task = this.tasks[0]?.name ?? null;
    this.tell("task");
    await this.refresh();
  }

  select(id) {
    this.current = id;
    if (id) sessionStorage.setItem("image", id);
    else sessionStorage.removeItem("image");
    this.tell("current");
  }

  setTask(name) {
    this.task = name;
    sessionStorage.setItem("task", name);
    this.tell("task");
  }

  show(choice) {
    this.choices.set(this.current, choice);
    this.tell("shown");
  }

  /** Add an image that the server has taken; `file` is kept for a server that starts anew. */
  add(image, file = null) {
    if (file) this.files.set(image.id, file);
    if (!this.images.some((one) => one.id === image.id)) this.images.push(image);
    this.changes += 1;
    this.tell("images");
  }

  async close(id) {
    await api.close(id).catch(ignoreGone);
    const place = this.images.findIndex((image) => image.id === id);
    this.images = this.images.filter((image) => image.id !== id);
    this.changes += 1;
    this.files.delete(id);
    if (this.current === id) {
      this.select((this.images[place] ?? this.images[place - 1])?.id ?? null);
    }
    this.tell("images");
  }

  /** Take a job as the server tells it, whole or in part. */
  update(fresh) {
    const known = this.jobs.find((job) => job.job === fresh.job);
    if (known) {
      Object.assign(known, fresh);
    } else {
      this.jobs.push(fresh);
      this.changes += 1;
    }
    this.tell("jobs");
  }

  async forget(id) {
    await api.drop(id).catch(ignoreGone);
    this.jobs = this.jobs.filter((job) => job.job !== id);
    this.changes += 1;
    for (const [image, choice] of this.choices) {
      if (choice?.job === id) this.choices.set(image, null);
    }
    this.tell("jobs");
    this.tell("shown");
  }

  /** Ask the server for images and jobs; another tab may have changed them, or a restart. */
  async refresh() {
    const seen = this.changes;
    const [server, images, jobs] = await Promise.all([api.server(), api.images(), api.jobs()]);
    if (server.run !== this.server?.run) {
      link.dispatchEvent(new Event("lost")); // it was started anew between two looks
      return;
    }
    if (this.changes !== seen) return; // asked before a change, answered after it
    const before = JSON.stringify([this.images, this.jobs.map(outline)]);
    const reports = new Map(this.jobs.map((job) => [job.job, job.report]));
    this.images = images;
    this.jobs = jobs.map((job) => ({ ...job, report: job.report ?? reports.get(job.job) ?? null }));
    if (before === JSON.stringify([this.images, this.jobs.map(outline)])) return;
    if (!this.image) this.select(this.images[0]?.id ?? null);
    this.tell("images");
    this.tell("jobs");
  }

  /** Look at the server again and again. */
  watch() {
    const look = async () => {
      clearTimeout(this.timer);
      if (!document.hidden && !this.isPaused) await this.refresh().catch(() => {});
      this.timer = setTimeout(look, this.jobs.some(isActive) ? BUSY : IDLE);
    };
    document.addEventListener("visibilitychange", () => document.hidden || look());
    this.timer = setTimeout(look, BUSY);
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }
}

function outline({ job, state, share, results }) {
  return [job, state, share, results?.length];
}

function ignoreGone(error) {
  if (!(error instanceof ServerError) || error.status !== 404) throw error;
}

export const session = new Session();

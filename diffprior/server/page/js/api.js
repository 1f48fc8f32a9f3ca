/** The server's interface: one function for each thing that the page asks of it. */

import { texts } from "./texts.js";

const ROOT = new URL("api/v1/", document.baseURI);

/** "lost" when the server does not answer, "refused" when it does not know this browser. */
export const link = new EventTarget();

/** What the server said, in one sentence; `status` is the number of HTTP, 0 for no answer. */
export class ServerError extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { credentials: "same-origin", ...options });
  } catch {
    link.dispatchEvent(new Event("lost"));
    throw new ServerError(texts.lost, 0);
  }
  if (answer.ok) return answer;
  if (answer.status === 401) link.dispatchEvent(new Event("refused"));
  const said = await answer.json().catch(() => ({}));
  throw new ServerError(said.error ?? texts.unknownError(answer.status), answer.status);
}

const json = async (path, options) => (await ask(path, options)).json();

function form(entries) {
  const data = new FormData();
  for (const [name, value, fileName] of entries) {
    if (fileName) data.append(name, value, fileName);
    else data.append(name, value);
  }
  return { method: "POST", body: data };
}

export const api = {
  server: () => json("server"),
  tasks: () => json("tasks"),
  images: () => json("images"),
  jobs: () => json("jobs"),
  job: (id) => json(`jobs/${id}`),
  open: (file, name = file.name) => json("images", form([["file", file, name]])),
  file: async (image) => (await ask(`images/${image}/file`)).blob(),
  goOn: (job, sample) => json("images", form([["job", job], ["sample", sample]])),
  close: (image) => ask(`images/${image}`, { method: "DELETE" }),
  run: (task, entries) => json(task, form(entries)),
  drop: (job) => ask(`jobs/${job}`, { method: "DELETE" }),
  events: (job) => new EventSource(new URL(`jobs/${job}/events`, ROOT)),
  find: async (finder, entries) => (await ask(`masks/${finder}`, form(entries))).blob(),

  preview: (image, side = 2048) => new URL(`images/${image}/preview?side=${side}`, ROOT).href,
  result: (job, sample, format) =>
    new URL(`jobs/${job}/results/${sample}${format ? `?format=${format}` : ""}`, ROOT).href,
  resultPreview: (job, sample, side = 2048) =>
    new URL(`jobs/${job}/results/${sample}/preview?side=${side}`, ROOT).href,
  veil: (job) => new URL(`jobs/${job}/veil`, ROOT).href,

  /** Whether a server answers, and knows this browser: "back", "refused" or "lost". */
  async state() {
    try {
      const answer = await fetch(new URL("server", ROOT), { credentials: "same-origin" });
      if (answer.status === 401) return "refused";
      return answer.ok ? "back" : "lost";
    } catch {
      return "lost";
    }
  },
};

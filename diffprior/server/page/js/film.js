/** The strip of opened photos, and what is under way on each. */

import { api } from "./api.js";
import { $, icon, make } from "./dom.js";
import { editor } from "./editor.js";
import { notice } from "./notice.js";
import { isActive, session } from "./session.js";
import { texts } from "./texts.js";

export function setUpFilm() {
  session.addEventListener("images", draw);
  session.addEventListener("current", draw);
  session.addEventListener("jobs", mark);
}

/** Go to the photo before or after the present one. */
export function step(by) {
  const place = session.images.findIndex((image) => image.id === session.current);
  const next = session.images[place + by];
  if (next) session.select(next.id);
}

function draw() {
  const strip = $("#film-list");
  const tiles = new Map([...strip.children].map((tile) => [tile.dataset.image, tile]));
  const wanted = session.images.map((image) => tiles.get(image.id) ?? tile(image));
  strip.replaceChildren(...wanted);
  for (const each of wanted) {
    const isCurrent = each.dataset.image === session.current;
    const button = $(".tile", each);
    if (isCurrent) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (isCurrent) scrollTo(strip, each);
  }
  $("#film").hidden = !session.images.length;
  mark();
}

/** Bring a tile into sight, without moving the page. */
function scrollTo(strip, tile) {
  const left = tile.offsetLeft - strip.offsetLeft;
  if (left < strip.scrollLeft || left + tile.offsetWidth > strip.scrollLeft + strip.clientWidth) {
    strip.scrollLeft = left - strip.clientWidth / 2;
  }
}

function tile(image) {
  const thumb = make("img", { src: api.preview(image.id, 128), alt: "", draggable: false });
  const select = make(
    "button",
    {
      type: "button",
      className: "tile",
      title: image.name,
      aria: { label: image.name },
      on: { click: () => session.select(image.id) },
    },
    thumb,
    make("span", { className: "badge" }),
  );
  const close = make(
    "button",
    {
      type: "button",
      className: "tile-close",
      aria: { label: texts.remove(image.name) },
      title: texts.remove(image.name),
      on: { click: () => remove(image.id) },
    },
    icon("close"),
  );
  return make("li", { data: { image: image.id } }, select, close);
}

async function remove(id) {
  try {
    await session.close(id);
    await editor.forget(id);
  } catch (error) {
    if (error.status) notice(error.message);
  }
}

/** A badge on each tile: working, done or failed. */
function mark() {
  for (const item of $("#film-list").children) {
    const image = session.images.find((one) => one.id === item.dataset.image);
    const state = stateOf(item.dataset.image);
    $(".badge", item).dataset.state = state;
    const words = [image?.name, texts[state]].filter(Boolean);
    $(".tile", item).setAttribute("aria-label", words.join(", "));
  }
}

function stateOf(image) {
  const jobs = session.jobsOf(image);
  if (jobs.some(isActive)) return "working";
  const last = jobs.at(-1)?.state;
  return last === "done" || last === "failed" ? last : "";
}

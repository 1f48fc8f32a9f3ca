/** One line at the top of the page: that the server is gone, or what could not be opened. */

import { $ } from "./dom.js";

let timer = null;

/** Show a sentence; `kind` is "error", "lost" or "note". A note goes by itself. */
export function notice(sentence, kind = "error") {
  clearTimeout(timer);
  const box = $("#notice");
  box.dataset.kind = kind;
  box.hidden = false;
  $("#notice-text").textContent = sentence;
  if (kind === "note") timer = setTimeout(clearNotice, 6000);
}

/** Take the line away, or only one of a kind. */
export function clearNotice(kind = null) {
  const box = $("#notice");
  if (kind && box.dataset.kind !== kind) return;
  box.hidden = true;
  $("#notice-text").textContent = "";
}

/** Say a sentence to screen readers. */
export function announce(sentence) {
  $("#status").textContent = sentence;
}

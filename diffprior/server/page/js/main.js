/** The start of the page. */

import { watchConnection } from "./connection.js";
import { $ } from "./dom.js";
import { editor } from "./editor.js";
import { setUpFilm } from "./film.js";
import { setUpForm } from "./forms.js";
import { setUpJobs } from "./jobs.js";
import { setUpKeys } from "./keys.js";
import { tidy } from "./mask/keep.js";
import { clearNotice } from "./notice.js";
import { setUpOpening } from "./open.js";
import { setUpResults } from "./results.js";
import { session } from "./session.js";
import { setUpTabs } from "./tabs.js";
import { fillTexts, texts } from "./texts.js";
import { setUpToolbar } from "./toolbar.js";

const LOCAL = new Set(["localhost", "127.0.0.1", "[::1]"]);

fillTexts();
document.title = texts.title;
$("#stays").textContent = LOCAL.has(location.hostname) ? texts.stays : texts.staysOnServer;
$("#dismiss").addEventListener("click", () => clearNotice());
watchConnection({
  saveNow: () => editor.saveNow(),
  adopted: (old, fresh) => editor.rename(old, fresh),
});
setUpTabs();
setUpForm();
setUpToolbar();
setUpOpening();
setUpFilm();
setUpJobs();
setUpResults();
setUpKeys();
tidy();
session.addEventListener("current", drawInfo);
session.addEventListener("images", drawInfo);

await session.start().catch(() => {});
if (!session.images.length) session.tell("images");
session.tell("current");
session.watch();
document.body.classList.add("is-ready");

/** Name, size and kind of the photo. */
function drawInfo() {
  const { image } = session;
  $("#empty").hidden = Boolean(image);
  $("#info").hidden = !image;
  if (!image) return;
  const { name, width, height, depth } = image;
  $("#info-name").textContent = name;
  $("#info-size").textContent = [texts.size(width, height), texts.deep[depth]].filter(Boolean).join(" · ");
  document.title = `${name} – ${texts.title}`;
}

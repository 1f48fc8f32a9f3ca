/** The tasks as tabs; where a tab has several tasks, they are a list in the panel. */

import { $, make } from "./dom.js";
import { session } from "./session.js";

export function setUpTabs() {
  session.addEventListener("task", draw);
  $("#tabs").addEventListener("keydown", byKeys);
  $("#task-choice").addEventListener("change", ({ target }) => session.setTask(target.value));
}

function draw() {
  const current = session.taskRecord;
  if (!current) return;
  const names = [...new Set(session.tasks.map((task) => task.tab))];
  const tabs = names.map((name, i) => {
    const isSelected = name === current.tab;
    return make(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${i}`,
        tabIndex: isSelected ? 0 : -1,
        aria: { selected: isSelected, controls: "panel" },
        on: { click: () => select(name) },
      },
      name,
    );
  });
  const hadFocus = $("#tabs").contains(document.activeElement);
  $("#tabs").replaceChildren(...tabs);
  const chosen = tabs[names.indexOf(current.tab)];
  if (hadFocus) chosen.focus();
  const strip = $("#tabs");
  strip.scrollLeft = chosen.offsetLeft - (strip.clientWidth - chosen.offsetWidth) / 2;
  $("#panel").setAttribute("aria-labelledby", chosen.id);
  showTask(current);
}

function showTask(current) {
  const together = session.tasks.filter((task) => task.tab === current.tab);
  const options = together.map((task) => make("option", { value: task.name }, task.title));
  $("#task-choice").replaceChildren(...options);
  $("#task-choice").value = current.name;
  $("#task-choice-field").hidden = together.length < 2;
  $("#task-help").textContent = current.help;
}

function select(tab) {
  if (session.taskRecord.tab === tab) return;
  session.setTask(session.tasks.find((task) => task.tab === tab).name);
}

function byKeys(event) {
  const tabs = [...$("#tabs").children];
  const place = tabs.indexOf(document.activeElement);
  const moves = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const next = tabs[(moves[event.key] + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

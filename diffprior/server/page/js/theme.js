// The colors that the person chose, set before the page is drawn. Not a module: modules come late.
"use strict";

(() => {
  const root = document.documentElement;
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen) root.dataset.theme = chosen;
  } catch {
    // Storage is off: the system's colors.
  }
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const isDark = getComputedStyle(root).colorScheme === "dark";
      root.dataset.theme = isDark ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // It lasts until the page is closed.
      }
    });
  });
})();

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
      const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      const isDark = (root.dataset.theme ?? system) === "dark";
      root.dataset.theme = isDark ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // It lasts until the page is closed.
      }
    });
  });
})();

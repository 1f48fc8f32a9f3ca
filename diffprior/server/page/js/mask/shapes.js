/**
 * What a person paints, as plain data in the coordinates of the image.
 *
 * A mask is a list of steps. Each step changes what the steps before it have painted, so undo is
 * the list without its last step. Pixel (0, 0) covers the square from (0, 0) to (1, 1).
 *
 *   {kind: "brush", erase, soft, points: [[x, y, radius], ...]}
 *   {kind: "area", erase, soft, points: [[x, y], ...]}   a polygon, a lasso or a rectangle
 *   {kind: "bitmap", blob, erase: false}                 a mask file; decoded by bitmaps.js
 *   {kind: "invert"}, {kind: "grow", by}, {kind: "clear"}
 */

/** The steps that still matter: those after the last "clear". */
export function living(steps) {
  const last = steps.findLastIndex((step) => step.kind === "clear");
  return last < 0 ? steps : steps.slice(last + 1);
}

/** Whether a list of steps may have painted anything. */
export function paintsSomething(steps) {
  return living(steps).some((step) => step.kind !== "grow" && !step.erase);
}

export function rectangle(from, to) {
  const [[x0, y0], [x1, y1]] = [from, to];
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

/** How far all growing reaches, in pixels of the image. */
export function reach(steps) {
  return steps.reduce((sum, step) => sum + (step.kind === "grow" ? Math.abs(step.by) : 0), 0);
}

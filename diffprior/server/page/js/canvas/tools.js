/** The tools: what a press, a drag and a release paint. Points are in pixels of the image. */

import { rectangle } from "../mask/shapes.js";

const NEAR = 8; // CSS pixels in which a click closes a polygon
const STILL = 4; // and in which a drag is still a click

/**
 * The tool at work. `paint` is what it paints on: {push(step), extend(stroke, start), outline(points),
 * scale()}; `settings` is {tool, radius, soft, pressure}.
 */
export class Tools {
  constructor(paint, settings) {
    Object.assign(this, { paint, settings, stroke: null, corners: null, last: null });
  }

  /** Whether a stroke or a shape is under way. */
  get isBusy() {
    return this.stroke !== null || this.corners !== null;
  }

  down(point, { erase = false, shift = false, pressure = 0.5 } = {}) {
    const { tool, soft } = this.settings;
    const isErasing = erase || tool === "eraser";
    if (tool === "brush" || tool === "eraser") {
      const radius = this.#radius(pressure);
      const points = shift && this.last ? [[...this.last, radius]] : [];
      points.push([...point, radius]);
      this.stroke = { kind: "brush", erase: isErasing, soft, points };
      this.paint.extend(this.stroke, 0);
    } else {
      this.start = point;
      this.isErasing = isErasing;
      this.trail = [point];
    }
  }

  move(point, { pressure = 0.5 } = {}) {
    if (this.stroke) this.#extend(point, pressure);
    else if (this.trail) this.#trace(point);
    else if (this.corners) this.paint.outline([...this.corners, point]);
  }

  up(point) {
    if (this.stroke) {
      this.last = this.stroke.points.at(-1).slice(0, 2);
      const stroke = this.stroke;
      this.stroke = null;
      this.paint.push(stroke);
    } else if (this.trail) {
      this.#finishShape(point);
    }
  }

  /** Give up what is under way. */
  cancel() {
    this.stroke = this.trail = this.corners = null;
    this.paint.outline(null);
  }

  /** Close a polygon. */
  close() {
    if (!this.corners) return;
    const corners = this.corners;
    this.corners = null;
    this.#area(corners);
  }

  /** Paint a dab, for the keyboard. */
  dab(point, erase) {
    const { soft, radius } = this.settings;
    this.paint.push({ kind: "brush", erase, soft, points: [[...point, radius]] });
  }

  #radius(pressure) {
    const { radius, pressure: isOn } = this.settings;
    return Math.max(0.5, isOn ? radius * (0.2 + 0.8 * pressure) : radius);
  }

  /** Points that are nearer than an eighth of the radius add nothing that is seen. */
  #extend(point, pressure) {
    const { points } = this.stroke;
    const radius = this.#radius(pressure);
    const [x, y] = points.at(-1);
    const step = Math.max(0.5, radius / 8, 1 / this.paint.scale());
    if (Math.hypot(point[0] - x, point[1] - y) < step) return;
    points.push([...point, radius]);
    this.paint.extend(this.stroke, points.length - 1);
  }

  #trace(point) {
    if (this.settings.tool === "rectangle") {
      const corners = rectangle(this.start, point);
      this.paint.outline([...corners, corners[0]]);
      this.trail = [this.start, point];
      return;
    }
    const [x, y] = this.trail.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) * this.paint.scale() >= 2) this.trail.push(point);
    this.paint.outline([...(this.corners ?? []), ...this.trail]);
  }

  #finishShape(point) {
    const trail = this.trail;
    this.trail = null;
    if (this.settings.tool === "rectangle") {
      const isDrawn = this.#far(this.start, point) > STILL;
      if (isDrawn) this.#area(rectangle(this.start, point));
      else this.paint.outline(null);
      return;
    }
    if (trail.length > 2 && this.#far(this.start, this.#farthest(trail)) > STILL && !this.corners) {
      this.#area(trail);
      return;
    }
    this.#corner(point);
  }

  /** A click with the lasso: the next corner of a polygon, or its end at the first one. */
  #corner(point) {
    this.corners ??= [];
    const closes = this.corners.length > 2 && this.#far(this.corners[0], point) < NEAR;
    if (closes) this.close();
    else {
      this.corners.push(point);
      this.paint.outline(this.corners);
    }
  }

  #area(points) {
    this.paint.outline(null);
    const { soft } = this.settings;
    if (points.length > 2) this.paint.push({ kind: "area", erase: this.isErasing, soft, points });
  }

  #farthest(trail) {
    return trail.reduce((far, point) =>
      this.#far(this.start, point) > this.#far(this.start, far) ? point : far,
    );
  }

  #far([x0, y0], [x1, y1]) {
    return Math.hypot(x1 - x0, y1 - y0) * this.paint.scale();
  }
}

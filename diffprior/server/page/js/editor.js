/** The canvas with its mask: which image is on it, what is painted, and what it looks like. */

import { api } from "./api.js";
import { Layer } from "./canvas/layer.js";
import { listen } from "./canvas/pointer.js";
import { Stage } from "./canvas/stage.js";
import { Tools } from "./canvas/tools.js";
import { View } from "./canvas/view.js";
import { $, picture } from "./dom.js";
import { exportMask } from "./mask/export.js";
import { History } from "./mask/history.js";
import { forget, keep, kept } from "./mask/keep.js";
import { paintsSomething } from "./mask/shapes.js";
import { session } from "./session.js";

const SETTLED = 90; // ms after the last zoom or pan until the mask is drawn sharply again
const DEFAULT = 0.02; // radius of the brush, of the longer side

/** Tells "mask" when the steps change, "tool" when a setting does, "scene" when the view does. */
class Editor extends EventTarget {
  constructor() {
    super();
    this.view = new View();
    this.layer = new Layer(this.view);
    this.stage = new Stage($("#stage"), this.view, this.layer);
    this.histories = new Map();
    this.settings = { tool: "brush", radius: 20, soft: 0, pressure: false };
    this.tools = new Tools(this.#paint(), this.settings);
    this.isSpaceHeld = false;
    this.view.addEventListener("change", () => this.#settle());
    listen($("#stage"), this.#hands());
  }

  /** The history of the image on the canvas; an empty one if there is none. */
  get history() {
    return this.histories.get(session.current) ?? new History();
  }

  /** Whether the task at hand takes a mask. */
  get takesMask() {
    return Boolean(session.taskRecord?.options.some((option) => option.kind === "mask"));
  }

  get isPainted() {
    return paintsSomething(this.history.steps);
  }

  /** Put an image on the canvas. */
  async show(image) {
    this.tools.cancel();
    this.shownImage = image?.id ?? null;
    delete $("#stage").dataset.image;
    if (!image) {
      this.stage.show({ original: null, result: null, live: null, veil: null });
      this.#changed("scene");
      return;
    }
    const [shown, history] = await Promise.all([
      picture(api.preview(image.id)),
      this.#historyOf(image),
    ]);
    await this.layer.load(history.steps, image.width, image.height).catch(() => {});
    if (this.shownImage !== image.id) return; // another one was chosen meanwhile
    this.settings.radius = Math.max(1, this.share * Math.max(image.width, image.height));
    const changes = { original: shown, result: null, live: null, veil: null, divide: null };
    this.stage.show({ ...changes, isMaskShown: true });
    this.view.setImage(image.width, image.height);
    $("#stage").dataset.image = image.id;
    this.redraw();
    this.#changed("tool");
    this.#changed("mask");
    this.#changed("scene");
  }

  /** An image has a new name on a new server: what is painted on it stays. */
  rename(old, fresh) {
    const history = this.histories.get(old);
    if (history) this.histories.set(fresh, history);
    if (history) history.image = fresh; // it is kept under the new name from now on
    this.histories.delete(old);
    if (session.current === old) session.select(fresh);
  }

  forget(id) {
    this.histories.delete(id);
    return forget(id);
  }

  async saveNow() {
    if (session.current) await keep(session.current, this.history.saved());
  }

  /** The mask at the size of the image: {blob, painted}. */
  export() {
    const { width, height } = session.image;
    return exportMask(this.history.steps, width, height);
  }

  /** Add a step that is not painted by hand. */
  async push(step) {
    if (!session.image) return;
    await this.layer.load([step], session.image.width, session.image.height);
    this.history.push(step);
    this.stage.show({ isMaskShown: true });
    this.redraw();
  }

  undo() {
    this.tools.cancel();
    this.history.undo();
    this.stage.show({ isMaskShown: true });
    this.redraw();
  }

  redo() {
    this.history.redo();
    this.stage.show({ isMaskShown: true });
    this.redraw();
  }

  set(changes) {
    Object.assign(this.settings, changes);
    if ("radius" in changes && session.image) {
      const longer = Math.max(session.image.width, session.image.height);
      this.settings.radius = Math.min(longer / 2, Math.max(0.5, changes.radius));
      this.share = this.settings.radius / longer;
    }
    if ("tool" in changes) this.tools.cancel();
    this.#ring();
    this.#changed("tool");
  }

  /** Change what is in sight besides the mask: see Stage.scene. */
  scene(changes) {
    this.stage.show(changes);
    this.#changed("scene");
  }

  redraw() {
    if (!session.image) return;
    this.layer.redraw(this.history.steps);
    this.stage.draw();
  }

  /** Move the brush by keys; paint where it is. */
  nudge(dx, dy) {
    const { width, height } = this.view.screen;
    const [x, y] = this.pointer ?? [width / 2, height / 2];
    const step = Math.max(4, this.settings.radius * this.view.scale);
    const clamp = (value, limit) => Math.min(limit, Math.max(0, value));
    this.pointer = [clamp(x + dx * step, width), clamp(y + dy * step, height)];
    this.#ring();
  }

  dab(erase) {
    if (!this.takesMask || !this.pointer) return;
    this.tools.dab(this.view.toImage(...this.pointer), erase);
    this.redraw();
  }

  share = DEFAULT;

  async #historyOf(image) {
    const known = this.histories.get(image.id);
    if (known) return known;
    const made = new History(await kept(image.id));
    made.image = image.id;
    made.addEventListener("change", () => {
      keep(made.image, made.saved());
      this.#changed("mask");
    });
    this.histories.set(image.id, made);
    return made;
  }

  /** While the view moves the tint is stretched; then it is drawn anew. */
  #settle() {
    this.#ring();
    this.#changed("scene");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tools.stroke || this.redraw(), SETTLED);
  }

  #paint() {
    return {
      push: (step) => {
        if (step.kind !== "brush") this.layer.add(step);
        this.history.push(step);
        this.stage.draw();
      },
      extend: (stroke, start) => {
        if (!this.stage.scene.isMaskShown) this.scene({ isMaskShown: true });
        this.layer.extend(stroke, start);
        this.stage.draw();
      },
      outline: (points) => this.stage.show({ draft: points }),
      scale: () => this.view.scale,
    };
  }

  #hands() {
    return {
      view: this.view,
      tools: this.tools,
      canPaint: () => this.takesMask && Boolean(session.image),
      size: (factor) => this.set({ radius: this.settings.radius * factor }),
      divide: (x) => this.#divide(x),
      hover: (x, y, kind) => {
        this.pointer = kind === "touch" ? null : [x, y];
        this.#ring();
      },
      leave: () => {
        this.pointer = null;
        this.#ring();
      },
      isSpaceHeld: () => this.isSpaceHeld,
      redraw: () => this.redraw(),
    };
  }

  /** Move the divider to a place on the screen; whether there is a divider. */
  #divide(x) {
    if (this.stage.scene.divide === null) return false;
    const [place] = this.view.toImage(x, 0);
    const divide = Math.min(1, Math.max(0, place / this.view.image.width));
    this.scene({ divide });
    return true;
  }

  /** The ring that shows how large the brush is. */
  #ring() {
    const ring = $("#ring");
    const { tool, radius } = this.settings;
    const isBrush = tool === "brush" || tool === "eraser";
    const isOn = this.pointer && isBrush && this.takesMask && this.stage.scene.divide === null;
    ring.hidden = !isOn || this.isSpaceHeld || !session.image;
    if (ring.hidden) return;
    const side = Math.max(3, 2 * radius * this.view.scale);
    const [x, y] = this.pointer;
    ring.style.width = ring.style.height = `${side}px`;
    ring.style.transform = `translate(${x - side / 2}px, ${y - side / 2}px)`;
  }

  #changed(name) {
    this.dispatchEvent(new Event(name));
  }
}

export const editor = new Editor();

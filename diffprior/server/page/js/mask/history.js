/** The steps of a mask, with undo and redo. */

export class History extends EventTarget {
  constructor({ steps = [], undone = [] } = {}) {
    super();
    this.steps = steps;
    this.undone = undone;
  }

  push(step) {
    this.steps.push(step);
    this.undone = [];
    this.#tell();
  }

  undo() {
    this.#move(this.steps, this.undone);
  }

  redo() {
    this.#move(this.undone, this.steps);
  }

  /** What is kept over a reload. */
  saved() {
    return { steps: this.steps, undone: this.undone };
  }

  #move(from, to) {
    if (!from.length) return;
    to.push(from.pop());
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Where the image lies on the screen: screen = image * scale + offset, in CSS pixels. */

const LARGEST = 32; // screen pixels per image pixel
const MARGIN = 20; // CSS pixels round an image that is fitted

export class View extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { scale: 1, x: 0, y: 0, fitted: true });
    this.image = { width: 1, height: 1 };
    this.screen = { width: 1, height: 1 };
  }

  setImage(width, height) {
    this.image = { width, height };
    this.fit();
  }

  setScreen(width, height) {
    this.screen = { width, height };
    if (this.fitted) this.fit();
    else this.#tell();
  }

  /** Show the whole image, in the middle. */
  fit() {
    this.scale = this.#fitting();
    this.x = (this.screen.width - this.image.width * this.scale) / 2;
    this.y = (this.screen.height - this.image.height * this.scale) / 2;
    this.fitted = true;
    this.#tell();
  }

  /** Zoom by a factor; the point (x, y) of the screen stays where it is. */
  zoom(factor, x = this.screen.width / 2, y = this.screen.height / 2) {
    const smallest = Math.min(this.#fitting() / 2, 1);
    const scale = Math.min(LARGEST, Math.max(smallest, this.scale * factor));
    const change = scale / this.scale;
    this.x = x - (x - this.x) * change;
    this.y = y - (y - this.y) * change;
    this.scale = scale;
    this.fitted = false;
    this.#tell();
  }

  pan(dx, dy) {
    const keep = 40; // CSS pixels of the image that stay in sight
    const clamp = (value, size, screen) => Math.min(screen - keep, Math.max(keep - size, value));
    this.x = clamp(this.x + dx, this.image.width * this.scale, this.screen.width);
    this.y = clamp(this.y + dy, this.image.height * this.scale, this.screen.height);
    this.fitted = false;
    this.#tell();
  }

  toImage(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toScreen(x, y) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  /** The part of the image in sight, grown by some pixels: {left, top, right, bottom}. */
  visible(margin = 0) {
    const [left, top] = this.toImage(0, 0);
    const [right, bottom] = this.toImage(this.screen.width, this.screen.height);
    const { width, height } = this.image;
    const clamp = (value, limit) => Math.min(limit, Math.max(0, value));
    return {
      left: Math.floor(clamp(left - margin, width)),
      top: Math.floor(clamp(top - margin, height)),
      right: Math.ceil(clamp(right + margin, width)),
      bottom: Math.ceil(clamp(bottom + margin, height)),
    };
  }

  #fitting() {
    const { image, screen } = this;
    const width = Math.max(1, screen.width - 2 * MARGIN) / image.width;
    const height = Math.max(1, screen.height - 2 * MARGIN) / image.height;
    return Math.min(width, height, 8);
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

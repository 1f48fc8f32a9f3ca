/** Small helpers to make elements. Texts from outside are put in as text, never as HTML. */

export const $ = (selector, root = document) => root.querySelector(selector);

/** An element with properties and children; `on` holds listeners, `data` and `aria` attributes. */
export function make(tag, { on = {}, data = {}, aria = {}, ...rest } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  for (const [name, value] of Object.entries(data)) element.dataset[name] = value;
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An icon of the sprite in index.html. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Set aria-pressed of a button. */
export function press(button, isPressed) {
  button.setAttribute("aria-pressed", String(isPressed));
}

/** Let a file be chosen; resolves to a list, empty if the person changes their mind. */
export function choose({ accept = "image/*", multiple = false, folder = false } = {}) {
  const input = make("input", { type: "file", accept, multiple });
  input.webkitdirectory = folder;
  return new Promise((resolve) => {
    input.addEventListener("change", () => resolve([...input.files]));
    input.addEventListener("cancel", () => resolve([]));
    input.click();
  });
}

/** Save a blob or an address as a file. */
export function save(what, name) {
  const isBlob = what instanceof Blob;
  const href = isBlob ? URL.createObjectURL(what) : what;
  make("a", { href, download: name }).click();
  if (isBlob) setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** A picture, loaded and decoded; null if it cannot be had. */
export async function picture(address) {
  const image = new Image();
  image.src = address;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}

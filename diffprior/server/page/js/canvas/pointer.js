/** Mouse, pen and fingers on the canvas: paint, pan, zoom and pinch. */

const PEN_ERASER = 32; // the bit of `buttons` for the other end of a pen

/**
 * Listen on an element. `hands` is {view, tools, canPaint(), size(factor), divide(x) or null,
 * hover(x, y), leave(), isSpaceHeld()}.
 */
export function listen(element, hands) {
  const { view, tools } = hands;
  const fingers = new Map();
  let drag = null; // "paint", "pan", "pinch" or "divide"

  const at = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const press = (event) => ({
    erase: event.altKey || Boolean(event.buttons & PEN_ERASER),
    shift: event.shiftKey,
    pressure: event.pointerType === "pen" ? event.pressure : 0.5,
  });

  element.addEventListener("pointerdown", (event) => {
    if (event.button > 1 && !(event.buttons & PEN_ERASER)) return;
    const [x, y] = at(event);
    element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [x, y]);
    if (fingers.size === 2) {
      tools.cancel();
      hands.redraw();
      drag = "pinch";
    } else if (fingers.size > 2) return;
    else if (event.button === 1 || hands.isSpaceHeld()) drag = "pan";
    else if (hands.divide(x)) drag = "divide";
    else if (hands.canPaint()) {
      drag = "paint";
      tools.down(view.toImage(x, y), press(event));
    } else drag = "pan";
    if (event.button === 1) event.preventDefault();
  });

  element.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    hands.hover(x, y, event.pointerType);
    const before = fingers.get(event.pointerId);
    if (!before || !drag) {
      if (tools.corners) tools.move(view.toImage(x, y));
      return;
    }
    if (drag === "pinch") pinch(event.pointerId, x, y);
    else if (drag === "pan") view.pan(x - before[0], y - before[1]);
    else if (drag === "divide") hands.divide(x);
    else {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) {
        tools.move(view.toImage(...at(one)), press(one));
      }
    }
    fingers.set(event.pointerId, [x, y]);
  });

  const end = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    const was = drag;
    if (!fingers.size || was !== "pinch") drag = null;
    if (was !== "paint") return;
    if (event.type === "pointercancel") {
      tools.cancel();
      hands.redraw();
    } else tools.up(view.toImage(...at(event)));
  };
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
  element.addEventListener("pointerleave", () => hands.leave());
  element.addEventListener("dblclick", () => tools.close());

  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const turn = Math.max(-100, Math.min(100, event.deltaY || event.deltaX));
      if (event.altKey || event.shiftKey) hands.size(Math.exp(-turn / 500));
      else view.zoom(Math.exp(-turn / (event.ctrlKey ? 120 : 400)), ...at(event));
    },
    { passive: false },
  );

  /** Two fingers: their middle moves the image, and their distance zooms it. */
  function pinch(id, x, y) {
    const other = [...fingers].find(([name]) => name !== id)?.[1];
    const before = fingers.get(id);
    if (!other) return;
    const distance = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
    const middle = [(x + other[0]) / 2, (y + other[1]) / 2];
    view.pan((x - before[0]) / 2, (y - before[1]) / 2);
    if (distance(before) > 10) view.zoom(distance([x, y]) / distance(before), ...middle);
  }
}
